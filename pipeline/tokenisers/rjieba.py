"""Jieba's algorithm in Rust, made token for token what jieba 0.42.1 gives.

rjieba 0.2.2 was compared with jieba on every character and on every short ASCII run, and differs in two things:
with HMM it leaves ASCII runs such as `2-3` whole, so they are cut again by jieba's own pattern; and it takes more
characters for Chinese than jieba does, so texts that hold one of those are left to jieba. Of a user's words, those
that touch either (see `_for_jieba`) send the texts that hold them to jieba too.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipeline.tokenisers import _words

# What rjieba takes for Chinese and jieba does not, and surrogates, which Rust's strings cannot hold.
OTHER_HAN = "\u3400-\u4dbf\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ebef\U0002f800-\U0002fa1f"
SURROGATE = "\ud800-\udfff"
RUN = re.compile(r"[a-zA-Z0-9][+#&._%-]+[a-zA-Z0-9]")  # what rjieba may leave whole
PARTS = re.compile(r"([a-zA-Z0-9]+(?:\.\d+)?%?)")  # jieba.finalseg's own
FILLER = "\ue000"  # a private character, which no text's words hold


@dataclass(frozen=True)
class Config:
    name: Literal["rjieba"] = "rjieba"
    hmm: bool = True  # also finds words that the dictionary lacks
    dictionary: str | None = None  # a user's words in jieba's format, a file in dictionaries/text/
    stop_words: str | None = None  # left out after cutting: default, or a file in dictionaries/text/, one word a line

    def __post_init__(self) -> None:
        _words.check_place("dictionary", self.dictionary)
        _words.check_place("stop_words", None if self.stop_words == "default" else self.stop_words)


class Tokeniser:
    """Cuts texts into words, white space and stop words left out."""

    def __init__(self, config: Config, files: Path | None, cache: Path | None) -> None:
        import rjieba

        self.versions = _words.versions("rjieba", "jieba")
        self._hmm, self._cache = config.hmm, cache
        self._words = _words.user_dictionary(config, files)
        self._stops = _words.stop_words(config, files)
        self._rjieba = rjieba.Jieba()
        hard: list[str] = []
        if self._words:
            hard = _add(self._rjieba, self._reference, self._words)
        other = OTHER_HAN if config.hmm or self._words else ""
        self._leave = re.compile("|".join([f"[{other}{SURROGATE}]", *map(re.escape, hard)]))

    @cached_property
    def _reference(self) -> _words.Jieba:
        """Jieba, which takes half a second to load, for the texts that need it."""
        return _words.Jieba(hmm=self._hmm, cache=self._cache, words=self._words)

    def cut(self, text: str) -> list[str]:
        if self._leave.search(text):
            return _words.kept(self._reference.cut(text), self._stops)
        words: list[str] = self._rjieba.cut(text, self._hmm)
        if self._hmm and RUN.search(text):
            words = self._cut_runs(words)
        return _words.kept(words, self._stops)

    def cut_all(self, texts: Sequence[str]) -> list[list[str]]:
        return [self.cut(text) for text in texts]

    def _cut_runs(self, words: list[str]) -> list[str]:
        found: list[str] = []
        for word in words:
            if len(word) > 1 and word.isascii() and not word.isalnum() and not self._rjieba.has_word(word):
                found += filter(None, PARTS.split(word))
            else:
                found.append(word)
        return found


def _add(fast: Any, reference: _words.Jieba, words: Path) -> list[str]:
    """Gives rjieba the frequencies that jieba computed, and returns the words whose texts are to be left to jieba."""
    before, after = reference.base, reference.tokenizer
    names = list(dict.fromkeys(word for word, _, _ in _words.entries(words)))
    total = before.total
    for word in names:
        fast.add_word(word, after.FREQ[word], None)
        total += after.FREQ[word] - before.FREQ.get(word, 0)
    fast.add_word(FILLER, after.total - total, None)  # jieba's total keeps the former frequency of a word that it knew
    return [word for word in names if _for_jieba(word, after.FREQ[word])]


def _for_jieba(word: str, frequency: int) -> bool:
    """Whether rjieba treats a user's word otherwise: one that is to be split, or is of ASCII signs, or one letter."""
    return not frequency or (word.isascii() and (len(word) == 1 or not word.isalnum()))


def train(config: Config, texts: Iterable[str], out: Path) -> None:
    """Copies the user's dictionary and stop words into `out`; nothing is learnt of the texts."""
    _words.copy(config, out)


def build(config: Config, files: Path | None = None, cache: Path | None = None) -> Tokeniser:
    """The tokeniser; `files` is the folder that `train` wrote to, `cache` where jieba's private one may lie."""
    return Tokeniser(config, files, cache)
