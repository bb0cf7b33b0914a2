"""WordPiece as BERT has it for Chinese: each Chinese character by itself, other words in pieces, which `##` joins."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.tokenisers import _pieces, _words
from pipeline.tokenisers._pieces import Tokeniser


@dataclass(frozen=True)
class Config:
    name: Literal["wordpiece"] = "wordpiece"
    pieces: int = 8000  # at most, but for single characters
    minimum_count: int = 2  # occurrences of a pair in train that is joined
    file: str | None = None  # a user's tokenizer.json in dictionaries/ instead of training

    def __post_init__(self) -> None:
        _pieces.check(self.pieces, self.minimum_count)
        _words.check_place("file", self.file)


def train(config: Config, texts: Iterable[str], out: Path) -> None:
    """Writes tokeniser.json into `out`: the user's, or what is learnt of the texts."""
    if config.file:
        return _pieces.copy(config.file, "WordPiece", out)
    library = _pieces.library()
    chosen = _pieces.sample(texts)
    # Given in order, since the trainer would number them, and so break ties, in the order of a hash table.
    continuing = sorted({c for text in chosen for c in set(re.sub(_pieces.HAN, "", text)) if not c.isspace()})
    special = [_pieces.UNKNOWN, *(f"##{character}" for character in continuing)]
    tokenizer = library.Tokenizer(library.models.WordPiece(unk_token=_pieces.UNKNOWN))
    tokenizer.pre_tokenizer = splitter()
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=config.pieces + len(continuing),
        min_frequency=config.minimum_count,
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(chosen, trainer)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    model = library.models.WordPiece(
        {piece: number for number, (piece, _) in enumerate(vocabulary)}, unk_token=_pieces.UNKNOWN
    )
    _pieces.save([piece for piece, _ in vocabulary][1:], model, splitter(), out)


def splitter() -> Any:
    """Cuts at blanks, around signs and around each Chinese character."""
    library = _pieces.library()
    pre = library.pre_tokenizers
    alone = pre.Split(library.Regex(r"\p{Han}"), "isolated")
    return pre.Sequence([pre.WhitespaceSplit(), pre.Punctuation("isolated"), alone])


def build(config: Config, files: Path | None = None, cache: Path | None = None) -> Tokeniser:
    """The tokeniser; `files` is the folder that `train` wrote to."""
    return Tokeniser(files)
