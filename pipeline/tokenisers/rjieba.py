"""Jieba's algorithm in Rust, made token for token what jieba 0.42.1 gives.

rjieba 0.2.2 was compared with jieba on every character and on every short ASCII run. It differs in four things:
- its total of frequencies is less by what jieba's dictionary counts twice, so that ties fall otherwise: a word that no
  text holds makes the totals equal;
- with HMM it leaves ASCII runs such as `2-3` whole: they are cut again by jieba's own pattern;
- it takes more characters for Chinese, and no surrogates: texts that hold one of them are left to jieba;
- a user's words get other frequencies, and 0 does not remove a word: it is given jieba's own table of words instead.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipeline.tokenisers import _words

# What rjieba takes for Chinese and jieba does not, and a few unassigned characters between.
OTHER_HAN = re.compile("[\u3400-\u4dbf\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")
HAN = re.compile("[\u4e00-\u9fd5]+")  # what jieba's HMM cuts
RUN = re.compile(r"[a-zA-Z0-9][+#&._%-]+[a-zA-Z0-9]")  # what rjieba may leave whole
PARTS = re.compile(r"([a-zA-Z0-9]+(?:\.\d+)?%?)")  # jieba.finalseg's own
FILLER = "\ue000"  # a private character, which no word of a text holds
COUNTED_TWICE = 3  # frequencies of the words that stand twice in jieba's dictionary


@dataclass(frozen=True)
class Config:
    name: Literal["rjieba"] = "rjieba"
    hmm: bool = True  # also finds words that the dictionary lacks
    dictionary: str | None = None  # a user's words in jieba's format, a file in dictionaries/
    stop_words: str | None = None  # left out after cutting: default, or a file in dictionaries/, one word a line

    def __post_init__(self) -> None:
        _words.check_place("dictionary", self.dictionary)
        _words.check_place("stop_words", None if self.stop_words == "default" else self.stop_words)


class Tokeniser:
    """Cuts texts into words, white space and stop words left out."""

    def __init__(self, config: Config, files: Path | None, cache: Path | None) -> None:
        self.versions = _words.versions("rjieba", "jieba")
        self._hmm, self._cache = config.hmm, cache
        self._words = _words.user_dictionary(config, files)
        self._stops = _words.stop_words(config, files)
        self._split: set[str] = set()
        self._signs: re.Pattern[str] | None = None
        if self._words:
            self._rjieba = _of_table(self._reference.tokenizer)
            self._split = {word for word in self._reference.split if HAN.fullmatch(word)}
            self._signs = _ambiguous(self._reference.tokenizer.FREQ)
        else:
            self._rjieba = _of_default()

    @cached_property
    def _reference(self) -> _words.Jieba:
        """Jieba, which takes half a second to load, for the texts that need it."""
        return _words.Jieba(hmm=self._hmm, cache=self._cache, words=self._words)

    def cut(self, text: str) -> list[str]:
        if (self._hmm or self._words) and (OTHER_HAN.search(text) or (self._signs and self._signs.search(text))):
            return _words.kept(text, self._reference.cut(text), self._stops)
        try:
            words: list[str] = self._rjieba.cut(text, self._hmm)
        except UnicodeEncodeError:  # half a character
            words = self._reference.cut(text)
        if self._hmm and RUN.search(text):
            words = self._cut_runs(words)
        if self._split and self._hmm and not self._split.isdisjoint(words):
            words = [part for word in words for part in (word if word in self._split else (word,))]
        return _words.kept(text, words, self._stops)

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


def _of_default() -> Any:
    import rjieba

    found = rjieba.Jieba()
    found.add_word(FILLER, COUNTED_TWICE, None)
    return found


def _of_table(jieba: Any) -> Any:
    """rjieba with the words and frequencies of a jieba tokeniser, and its total."""
    import rjieba

    found = rjieba.Jieba.empty()
    for word, frequency in jieba.FREQ.items():
        if frequency:  # 0: a part of a word, or one that the user has removed
            found.add_word(word, frequency, None)
    found.add_word(FILLER, jieba.total - sum(jieba.FREQ.values()), None)
    return found


def _ambiguous(frequencies: Mapping[str, int]) -> re.Pattern[str] | None:
    """Finds ASCII words with signs in them, where single ASCII characters are words too.

    Only then may such a word be passed over, and its characters be a run that jieba cuts by its pattern.
    """
    words = [word for word, frequency in frequencies.items() if frequency and word.isascii()]
    signs = [re.escape(word) for word in words if len(word) > 1 and not word.isalnum()]
    return re.compile("|".join(signs)) if any(len(word) == 1 for word in words) else None


def train(config: Config, texts: Iterable[str], out: Path) -> None:
    """Copies the user's dictionary and stop words into `out`; nothing is learnt of the texts."""
    _words.copy(config, out)


def build(config: Config, files: Path | None = None, cache: Path | None = None) -> Tokeniser:
    """The tokeniser; `files` is the folder that `train` wrote to, `cache` where jieba's private one may lie."""
    return Tokeniser(config, files, cache)
