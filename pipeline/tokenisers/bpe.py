"""Byte-pair encoding over Chinese clauses: pieces of one or more characters, learnt of the train texts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.tokenisers import _pieces, _words
from pipeline.tokenisers._pieces import Tokeniser


@dataclass(frozen=True)
class Config:
    name: Literal["bpe"] = "bpe"
    pieces: int = 8000  # at most
    minimum_count: int = 2  # occurrences of a pair in train that is joined
    file: str | None = None  # a user's tokenizer.json in dictionaries/ instead of training

    def __post_init__(self) -> None:
        _pieces.check(self.pieces, self.minimum_count)
        _words.check_place("file", self.file)


def train(config: Config, texts: Iterable[str], out: Path) -> None:
    """Writes tokeniser.json into `out`: the user's, or what is learnt of the texts."""
    if config.file:
        return _pieces.copy(config.file, "BPE", out)
    library = _pieces.library()
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=_pieces.UNKNOWN))
    tokenizer.pre_tokenizer = splitter()
    trainer = library.trainers.BpeTrainer(
        vocab_size=config.pieces,
        min_frequency=config.minimum_count,
        special_tokens=[_pieces.UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_pieces.sample(texts), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    merges = [(first, second) for first, second in learnt["merges"]]
    model = library.models.BPE(learnt["vocab"], merges, unk_token=_pieces.UNKNOWN)
    _pieces.save(list(learnt["vocab"])[1:], model, splitter(), out)


def splitter() -> Any:
    """Cuts at blanks and around signs and digits; pieces never cross these."""
    pre = _pieces.library().pre_tokenizers
    return pre.Sequence([pre.WhitespaceSplit(), pre.Punctuation("isolated"), pre.Digits(individual_digits=True)])


def build(config: Config, files: Path | None = None, cache: Path | None = None) -> Tokeniser:
    """The tokeniser; `files` is the folder that `train` wrote to."""
    return Tokeniser(files)
