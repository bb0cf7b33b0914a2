"""A published text encoder such as BERT, RoBERTa or ALBERT, by Hugging Face's transformers, and a linear head.

The encoder reads the ids of the task's own vocabulary, each of which has the published row of the same piece, so that
tokens, graphs and serving are those of any other text model. Begin and end of a text are added inside the network.
B texts, T tokens (any number; 0 is padding), V tokens of the vocabulary, E values of an embedding, O outputs.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.config import setting
from pipeline.errors import ConfigError, DataError
from pipeline.examples import TextInputs, Vocabulary
from pipeline.models import _encoders

KIND = "text"
log = logging.getLogger(__name__)
KNOWN = 0.8  # share of a vocabulary's tokens that the encoder knows where both have the same tokeniser, at least
PADDED = 1e-5  # by which padding may change an answer
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout")
"""What encoders call the shares that they drop."""


@dataclass(frozen=True)
class Config:
    path: str | None = None  # an encoder's name on the hub, such as hfl/rbt3, or a folder in weights/
    revision: str = "main"  # of a name on the hub: a branch, a tag or a commit
    pooling: Literal["first", "mean"] = "first"  # the begin token's values, or the mean of all tokens'
    layers: int | None = setting(None, low=1, high=1000, unit="layers that are kept, from the input on; null: all")
    dropout: float | None = setting(None, low=0, below=1, unit="share; null: the encoder's own, and 0.1 at the head")
    encoder: dict[str, Any] | None = None  # its config.json; without a path its weights begin at random
    digest: str | None = None  # sha256 of its files; train writes it, and other files are then refused

    def __post_init__(self) -> None:
        if self.path is None and self.encoder is None:
            raise ValueError(
                "path: missing; expected an encoder's name on the hub, such as hfl/rbt3, or a folder in "
                f"{_encoders.FOLDER}; docs/transformers.md"
            )
        if self.path is not None:
            _encoders.check_place(self.path)


class Embedding(nn.Embedding):
    """Rows of the vocabulary, then those of begin and end of a text."""

    signs = 2


class Encoder(nn.Module):
    """ids int64 [B, T] → outputs [B, O]; the last two rows of the embedding are begin and end of a text."""

    def __init__(self, body: nn.Module, config: Config, inputs: TextInputs, outputs: int):
        super().__init__()
        self.config = config
        self.begin, self.end = inputs.vocabulary, inputs.vocabulary + 1
        self.body = body
        self.dropout = nn.Dropout(0.1 if config.dropout is None else config.dropout)
        self.head = nn.Linear(body.config.hidden_size, outputs)  # type: ignore[union-attr,arg-type]

    @property
    def embedding(self) -> nn.Embedding:
        found: nn.Embedding = self.body.get_input_embeddings()  # type: ignore[operator]
        return found

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(dim=1, keepdim=True)  # [B, 1]
        places = torch.arange(ids.shape[1] + 2, device=ids.device)  # [T + 2]
        whole = nn.functional.pad(ids, (1, 1))
        whole = torch.where(places == 0, self.begin, whole)
        whole = torch.where(places == lengths + 1, self.end, whole)
        inside = places < lengths + 2
        # values, not ids: some encoders take an id of their own for padding
        x = self.body(inputs_embeds=self.embedding(whole), attention_mask=inside.long())[0]  # [B, T + 2, E]
        if self.config.pooling == "first":
            pooled = x[:, 0]
        else:
            pooled = (x * inside.unsqueeze(2)).sum(dim=1) / (lengths + 2)
        return self.head(self.dropout(pooled))


def resolved(config: Config) -> Config:
    """With the encoder's own settings, its commit and its digest, by which model.json alone rebuilds the network.

    Raises: DataError for an encoder that cannot be had, or is not that of the digest.
    """
    if config.path is None:
        return config
    found = _encoders.find(config.path, config.revision)
    if config.digest not in (None, found.digest):
        raise DataError(
            f"{config.path}: found files of sha256 {found.digest}; expected {config.digest}; "
            "put the encoder of that digest there, or take out model.digest"
        )
    return replace(config, revision=found.commit or config.revision, encoder=found.settings, digest=found.digest)


def require(config: Config, where: str) -> None:
    """Before any work. Raises: ConfigError for a folder of the project that is not there."""
    if config.path is not None and config.path.startswith(_encoders.FOLDER) and not Path(config.path).is_dir():
        raise ConfigError(f"{where}.path: found {config.path!r}, which is missing; expected a folder; put it there")


def require_size(config: Config, size: int, where: str) -> None:
    """Raises: ConfigError for texts of so many tokens, where the settings at hand tell of fewer places.

    What an encoder on the hub can read, and one whose first places are reserved, `build` finds out.
    """
    said: Any = config.encoder
    if said is None and config.path is not None and config.path.startswith(_encoders.FOLDER):
        with suppress(OSError, ValueError):  # `tune` tells of a folder that is not an encoder's
            said = json.loads((Path(config.path) / "config.json").read_text("utf-8"))
    longest = said.get("max_position_embeddings") if isinstance(said, dict) else None
    if isinstance(longest, int) and size + 2 > longest:
        raise ConfigError(
            f"{where}: found an encoder of {longest} places for features.length {size}; expected at most "
            f"{longest - 2} tokens beside begin and end; set features.length"
        )


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    """The network with random weights; `words` gives it the published ones.

    Raises: ConfigError for an encoder that transformers does not have, that cannot read texts as long as these, or
    whose answers change with padding.
    """
    known = config if config.encoder is not None else resolved(config)
    with _transformers() as transformers:
        settings = _settings(known, transformers)
        try:
            body = transformers.AutoModel.from_config(settings, trust_remote_code=False)
        except (ValueError, KeyError, AssertionError) as error:
            raise ConfigError(f"model.encoder: {error}; expected the settings of a {settings.model_type}") from None
    body = _without_pooler(body).float()
    _keep_fixed(body)
    if inputs.length + 2 > (longest := _positions(body)):
        raise ConfigError(
            f"features.length: found {inputs.length}; expected at most {longest - 2}, which the encoder reads"
        )
    width = body.get_input_embeddings().embedding_dim
    embedding = Embedding(inputs.vocabulary + Embedding.signs, width, padding_idx=0)
    nn.init.normal_(embedding.weight, std=getattr(body.config, "initializer_range", 0.02))
    with torch.no_grad():
        embedding.weight[0] = 0
    body.set_input_embeddings(embedding)
    net = Encoder(body, known, inputs, outputs)
    _check_padding(net, settings.model_type)
    return net


def words(net: Encoder, vocabulary: Vocabulary) -> None:
    """Once before training: the published weights, and for each token of the vocabulary the row of the same piece.

    Raises: DataError for a vocabulary of another tokeniser, or weights that lack a tensor.
    """
    if net.config.path is None:
        return
    known = resolved(net.config)
    folder = _encoders.find(net.config.path, known.revision).folder
    offline = {"local_files_only": True, "trust_remote_code": False}
    with _transformers() as transformers:
        published, told = transformers.AutoModel.from_pretrained(
            folder,
            config=_settings(known, transformers),
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
            dtype=torch.float32,
            **offline,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **offline)
    lacking = [name for name in told["missing_keys"] if "pooler" not in name]
    lacking += [f"{name} of the right shape" for name, *_ in told["mismatched_keys"]]
    if lacking:
        raise DataError(
            f"{net.config.path}: its weights lack {lacking[0]} ({len(lacking)} tensors in all); expected those of its "
            "config.json; put the whole encoder there"
        )
    rows = _rows(net.config.path, tokenizer, vocabulary.words)
    with torch.no_grad():
        net.embedding.weight.copy_(published.get_input_embeddings().weight[rows])
    published.set_input_embeddings(net.embedding)
    net.body.load_state_dict(_without_pooler(published).state_dict())


def _rows(path: str, tokenizer: Any, words: Sequence[str]) -> list[int]:
    """The published row of each token, of begin and of end."""
    pieces = tokenizer.get_vocab()
    own = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "cls", "sep")}
    if missing := [name for name, number in own.items() if number is None]:
        raise DataError(f"{path}: its tokeniser has no {missing[0]} token; expected an encoder such as BERT")
    found = [pieces.get(word) for word in words[2:]]
    count = sum(row is not None for row in found)
    if count < KNOWN * len(found):
        raise DataError(
            f"{path}: {count} of {len(found)} tokens of the task's vocabulary are pieces of the encoder; expected "
            f"{KNOWN:.0%}; cut the texts with its own tokenizer.json, in dictionaries/: prepare.tokeniser: "
            "{name: wordpiece, file: dictionaries/tokenizer.json}"
        )
    log.info("%s: %d of %d tokens of the vocabulary have a published row", path, count, len(found))
    known = [own["unk"] if row is None else row for row in found]
    return [own["pad"], own["unk"], *known, own["cls"], own["sep"]]


def stages(net: Encoder) -> list[nn.Module]:
    """From the input to the head: what comes before the layers, each layer, what comes after them, the head."""
    layers = max((part for part in net.body.modules() if isinstance(part, nn.ModuleList)), key=len)
    inside = set(layers.modules())
    parts = [part for part in net.body.modules() if part in inside or (not any(part.children()) and _holds(part))]
    first = next(k for k, part in enumerate(parts) if part in inside)
    before = [part for part in parts[:first] if part not in inside]
    after = [part for part in parts[first:] if part not in inside]
    found: list[nn.Module] = [nn.ModuleList(before), *layers]
    return [*found, *([nn.ModuleList(after)] if after else []), net.head]


def _holds(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None


def _settings(config: Config, transformers: Any) -> Any:
    """The encoder's settings as transformers has them, with what this section changes."""
    given = dict(config.encoder or {})
    kind = given.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        raise ConfigError(f"model.encoder.model_type: found {kind!r}; expected one that transformers has, such as bert")
    from huggingface_hub.errors import StrictDataclassError

    try:
        found = transformers.CONFIG_MAPPING[kind].from_dict(given)
    except StrictDataclassError as error:
        raise ConfigError(f"model.encoder: {' '.join(str(error).split())}") from None
    if getattr(found, "is_encoder_decoder", False):
        raise ConfigError(f"model.encoder.model_type: found {kind!r}, which also decodes; expected an encoder alone")
    if config.layers is not None:
        if config.layers > found.num_hidden_layers:
            raise ConfigError(
                f"model.layers: found {config.layers}; expected at most {found.num_hidden_layers}, as the encoder has"
            )
        found.num_hidden_layers = config.layers
    for name in DROPOUTS if config.dropout is not None else ():
        if hasattr(found, name):
            setattr(found, name, config.dropout)
    return found


def _without_pooler(body: Any) -> Any:
    """An encoder without the layer that some have after their first token's answer, for a task of their own."""
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    return body


def _keep_fixed(body: nn.Module) -> None:
    """Makes buffers of what an encoder computes rather than learns, such as sines of positions."""
    for part in body.modules():
        for name, value in [*part.named_parameters(recurse=False)]:
            if not value.requires_grad:
                delattr(part, name)
                part.register_buffer(name, value.data)


def _check_padding(net: Encoder, kind: str) -> None:
    """Raises: ConfigError for an encoder that also reads what it is told to leave out."""
    ids = torch.ones(1, 4, dtype=torch.int64)
    with torch.inference_mode():
        alone, padded = net.eval()(ids), net(nn.functional.pad(ids, (0, 4)))
    net.train()
    if not torch.allclose(alone, padded, rtol=0, atol=PADDED * float(1 + alone.abs().max())):
        raise ConfigError(f"model.encoder.model_type: found {kind!r}, whose answers change with padding; expected bert")


def _positions(body: nn.Module) -> int:
    """Tokens that the encoder reads at most, begin and end among them."""
    for name, part in body.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return int(body.config.max_position_embeddings)  # type: ignore[union-attr,arg-type]


@contextmanager
def _transformers() -> Iterator[Any]:
    """The package, which within the block says nothing below an error and draws no bars."""
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "model.name: hugging_face needs the package transformers, which is not installed; install requirements.lock"
        ) from None
    said = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        transformers.logging.set_verbosity(said)
        if bars:
            transformers.logging.enable_progress_bar()
