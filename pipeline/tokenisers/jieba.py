"""Jieba 0.42.1 itself, the reference for words: with parts of speech, which rjieba finds otherwise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.tokenisers import _words


@dataclass(frozen=True)
class Config:
    name: Literal["jieba"] = "jieba"
    hmm: bool = True  # also finds words that the dictionary lacks
    dictionary: str | None = None  # a user's words in jieba's format, a file in dictionaries/
    stop_words: str | None = None  # left out after cutting: default, or a file in dictionaries/, one word a line
    parts_of_speech: tuple[str, ...] = ()  # tags to keep: n keeps nr and ns too; empty: all. Words are then posseg's

    def __post_init__(self) -> None:
        _words.check_place("dictionary", self.dictionary)
        _words.check_place("stop_words", None if self.stop_words == "default" else self.stop_words)


class Tokeniser:
    """Cuts texts into words, white space and stop words left out."""

    def __init__(self, config: Config, files: Path | None, cache: Path | None) -> None:
        words = _words.user_dictionary(config, files)
        self.versions = _words.versions("jieba")
        self._stops = _words.stop_words(config, files)
        self._jieba = _words.Jieba(hmm=config.hmm, cache=cache, words=words)
        self._tags = config.parts_of_speech
        self._tagger = _words.tagger(self._jieba) if self._tags else None

    def cut(self, text: str) -> list[str]:
        words = self._tagged(text) if self._tagger else self._jieba.cut(text)
        return _words.kept(text, words, self._stops)

    def cut_all(self, texts: Sequence[str]) -> list[list[str]]:
        return [self.cut(text) for text in texts]

    def _tagged(self, text: str) -> list[str]:
        pairs: Any = self._tagger(text)  # type: ignore[misc]
        return [word for word, tag in pairs if tag.startswith(self._tags)]


def train(config: Config, texts: Iterable[str], out: Path) -> None:
    """Copies the user's dictionary and stop words into `out`; nothing is learnt of the texts."""
    _words.copy(config, out)


def build(config: Config, files: Path | None = None, cache: Path | None = None) -> Tokeniser:
    """The tokeniser; `files` is the folder that `train` wrote to, `cache` where jieba's private one may lie."""
    return Tokeniser(config, files, cache)
