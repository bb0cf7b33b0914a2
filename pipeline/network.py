"""A model of pipeline/models/ as the network that is trained, exported and loaded: raw arrays in, logits out.

B examples, N of a split, H height, W width, C channels in pixels, T tokens, O outputs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import batches, config, distributed, memory, pulse, shapes, targets
from pipeline.errors import ConfigError, StoppedError
from pipeline.examples import ImageInputs, Split, TextInputs, Vocabulary
from pipeline.targets import Target

Inputs = ImageInputs | TextInputs
UNKNOWN = 1  # the id of a token that is not in the vocabulary
SPECIAL = 2  # ids of padding and unknown, which every vocabulary has


class Normalised(nn.Module):
    """uint8 [B, H, W, C] → outputs [B, O]: an image model with the statistics of its training pixels inside.

    The mean is a whole grey level: pixels are then integers with a zero point and a scale, which graphs read at once.
    """

    mean: Tensor  # [1, C, 1, 1], in 0..255
    std: Tensor
    channels_first = False  # in memory, of what the body reads

    def __init__(self, body: nn.Module, inputs: ImageInputs):
        super().__init__()
        self.body = body
        self.register_buffer("mean", (255 * torch.tensor(inputs.mean)).round().view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(inputs.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()  # channels last in memory, as they came
        if self.channels_first:
            pixels = pixels.contiguous()
        return self.body((pixels - self.mean) / self.std)


class Known(nn.Module):
    """ids int64 [B, T] → outputs [B, O]: a text model of the first rows of a vocabulary, the most frequent tokens.

    Every other token is unknown to it.
    """

    def __init__(self, body: nn.Module, rows: int):
        super().__init__()
        self.body = body
        self.rows = rows

    def forward(self, ids: Tensor) -> Tensor:
        return self.body(torch.where(ids < self.rows, ids, UNKNOWN))


class Valued(nn.Module):
    """Outputs in standard deviations of the train split's values → values, in their own unit."""

    mean: Tensor  # []
    std: Tensor

    def __init__(self, body: nn.Module, target: Target):
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(target.mean))
        self.register_buffer("std", torch.tensor(target.std))

    def forward(self, arrays: Tensor) -> Tensor:
        return self.body(arrays).float() * self.std + self.mean  # autocast's bf16 has no room for a large mean


@dataclass(frozen=True)
class Network:
    """A network, and its stages from the input to the head, which is the last."""

    net: nn.Module  # uint8 [B, H, W, C] or ids int64 [B, T] (0 = padding) → outputs [B, O]
    stages: list[nn.Module]
    body: nn.Module  # what the model's file built of it


def network(module: ModuleType, settings: Any, inputs: Inputs, target: Target, rows: int | None = None) -> Network:
    """The network of a model's file; of a text model with `rows`, one that knows so many tokens of the vocabulary.

    Raises: ConfigError for `rows` that the inputs do not have.
    """
    read = inputs if rows is None else _first_words(inputs, rows)
    body = module.build(settings, inputs=read, outputs=target.outputs)
    net = Normalised(body, inputs) if isinstance(inputs, ImageInputs) else body
    net = net if rows is None else Known(net, rows)
    return Network(Valued(net, target) if target.kind == "value" else net, list(module.stages(body)), body)


def _first_words(inputs: Inputs, rows: int) -> TextInputs:
    if isinstance(inputs, TextInputs) and SPECIAL < rows <= inputs.vocabulary:
        return TextInputs(rows, inputs.length)
    most = inputs.vocabulary if isinstance(inputs, TextInputs) else "none of images"
    raise ConfigError(f"rows: found {rows}; expected more than {SPECIAL} tokens, and at most {most}")


def fewer_words(state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The trained weights of a text network, cut to the rows that a freshly built `net` of the same model knows.

    Rows behind those of the vocabulary, such as the signs of an encoder, are kept.
    """
    at, known = next((name, part) for name, part in net.named_modules() if isinstance(part, Known))
    start = f"{at}." if at else ""
    found = {}
    for name, value in net.state_dict().items():
        inside = name.startswith(f"{start}body.")  # of what the uncut network has at this place
        old = state[start + name.removeprefix(f"{start}body.") if inside else name]
        differing = [k for k, size in enumerate(value.shape) if size != old.shape[k]]
        assert len(differing) <= 1, f"{name}: {tuple(old.shape)}, of which more than the vocabulary is to be cut"
        found[name] = old if not differing else _first(old, differing[0], known.rows, value.shape[differing[0]])
    return found


def _first(value: Tensor, axis: int, rows: int, size: int) -> Tensor:
    """The first rows along an axis, and as many of the last as make up the size."""
    behind = size - rows
    last = value.narrow(axis, value.shape[axis] - behind, behind)
    return torch.cat([value.narrow(axis, 0, rows), last], dim=axis)


def lay_out(net: nn.Module, *, channels_last: bool) -> None:
    """The memory format of images, and of the weights that read them."""
    if channels_last:
        net.to(memory_format=torch.channels_last)
    for module in net.modules():
        if isinstance(module, Normalised):
            module.channels_first = not channels_last


def acquaint(module: ModuleType, body: nn.Module, vocabulary: Callable[[], Vocabulary]) -> None:
    """Before training: a text model whose file has `words` is told the vocabulary; its buffers keep what it needs."""
    if hasattr(module, "words"):
        module.words(body, vocabulary())


def predict(
    net: nn.Module,
    split: Split,
    inputs: Inputs,
    target: Target,
    *,
    rows: np.ndarray | None = None,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Probabilities or values float32 [N, O] in the split's order, on every rank; each answers for its part.

    `rows`, rising, are those that are answered for where not all are. The network is left in evaluation mode.
    Raises: StoppedError where `stop`, asked before each batch, says so on any rank.
    """
    net.eval()
    rows_of = batches.by_length(split, inputs, batch_size, rows)
    mine = rows_of[distributed.rank() :: distributed.world()]
    outputs = torch.zeros((0, target.outputs), device=device)
    stopped = False
    with torch.inference_mode():
        for some in mine:
            stopped = stop()
            if stopped:
                break
            outputs = torch.cat([outputs, _outputs(net, split, some, inputs, device)])
            pulse.beat()
    if distributed.any_of(stopped)[0]:
        raise StoppedError("stopped before all was answered; run again")
    every = distributed.gathered(outputs).cpu().numpy()
    order = [some for rank in range(distributed.world()) for some in rows_of[rank :: distributed.world()]]
    return targets.read(every, target.kind)[np.argsort(np.concatenate(order))]


def _outputs(net: nn.Module, split: Split, rows: np.ndarray, inputs: Inputs, device: torch.device | str) -> Tensor:
    """Outputs float32 [B, O] of some rows, half by half where the memory does not hold all at once."""
    try:
        return net(torch.from_numpy(batches.read(split, rows, inputs)).to(device)).float()
    except memory.RAISED as error:
        if not memory.exhausted(error) or len(rows) == 1:
            raise
    return torch.cat([_outputs(net, split, half, inputs, device) for half in np.array_split(rows, 2)])


def describe(
    name: str, settings: Any, inputs: Inputs, target: Target, *, rows: int | None = None, cut: shapes.Cut | None = None
) -> dict[str, Any]:
    """What model.json needs so that `load` can build the same network.

    `rows` and `cut` tell of one that knows fewer tokens, or lacks parts that its settings name: see shapes.differences.
    """
    kind = "image" if isinstance(inputs, ImageInputs) else "text"
    about = {"name": name, "kind": kind, "config": asdict(settings), "inputs": asdict(inputs)}
    about |= {"target": targets.described(target)}
    return about | ({} if rows is None else {"rows": rows}) | ({} if cut is None else {"cut": cut})


@dataclass(frozen=True)
class Loaded:
    net: nn.Module
    stages: list[nn.Module]
    body: nn.Module  # what the model's file built of it
    inputs: Inputs
    target: Target


def load(folder: Path) -> Loaded:
    """The trained network of data/models/<task> in evaluation mode, what it reads and what it answers.

    Raises: DataError for weights of a network that was cut, if they are not those that model.json tells of.
    """
    from safetensors.torch import load_file

    about = json.loads((folder / "model.json").read_text("utf-8"))
    module, settings = config.named("models", {"name": about["name"], **about["config"]}, f"{folder}/model.json")
    given: dict[str, Any] = about["inputs"]
    inputs: Inputs
    if about["kind"] == "image":
        inputs = ImageInputs(**given | {name: tuple(given[name]) for name in ("mean", "std")})
    else:
        inputs = TextInputs(**given)
    target = targets.of(about["target"])
    built = network(module, settings, inputs, target, about.get("rows"))
    state = load_file(folder / "weights.safetensors")
    if "cut" in about:
        shapes.restore(built.net, about["cut"], state, f"{folder}/model.json")
    else:
        shapes.fill(built.net, state)
    return Loaded(built.net.eval(), list(module.stages(built.body)), built.body, inputs, target)
