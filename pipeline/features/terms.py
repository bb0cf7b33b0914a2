"""Word and character n-grams of one text, their TF-IDF weights, and its token ids, with numpy alone.

Serving carries this file instead of scikit-learn; a test holds it within 1e-6 of scikit-learn's TfidfVectorizer.
A text is its tokens and its cleaned string: word n-grams are runs of tokens joined by one blank, character
n-grams are runs of characters, two or more white spaces counted as one blank.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1
_SPACES = re.compile(r"\s\s+")


def fold(text: str) -> str:
    """The text with two or more white spaces as one blank."""
    return _SPACES.sub(" ", text)


def word_ngrams(tokens: Sequence[str], low: int, high: int) -> Iterator[str]:
    """Every run of `low` to `high` tokens, joined by one blank."""
    for size in range(low, high + 1):
        for start in range(len(tokens) - size + 1):
            yield " ".join(tokens[start : start + size])


def character_ngrams(text: str, low: int, high: int) -> Iterator[str]:
    """Every run of `low` to `high` characters."""
    text = fold(text)
    for size in range(low, high + 1):
        for start in range(len(text) - size + 1):
            yield text[start : start + size]


def encode(tokens: Iterable[str], index: Mapping[str, int]) -> list[int]:
    """The vocabulary's id of each token."""
    return [index.get(token, UNKNOWN) for token in tokens]


def padded(rows: Sequence[Sequence[int]], length: int) -> NDArray[np.int64]:
    """int64 [B, T], T the longest row but at most `length`, at least 1; cut at the end, filled with padding."""
    width = max(1, min(length, max((len(row) for row in rows), default=1)))
    filled = np.full((len(rows), width), PADDING, np.int64)
    for k, row in enumerate(rows):
        cut = row[:width]
        filled[k, : len(cut)] = cut
    return filled


@dataclass(frozen=True)
class Terms:
    """The terms that a model knows, word n-grams first: column k of a TF-IDF matrix is term k of both lists joined."""

    word: Mapping[str, int]  # term -> column, from 0
    character: Mapping[str, int]  # term -> column, from len(word)
    idf: NDArray[np.float64]  # [columns]
    word_range: tuple[int, int]
    character_range: tuple[int, int]
    sublinear: bool  # 1 + log(count) in place of the count
    norm: bool = True  # words and characters each of Euclidean norm 1

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Terms":
        """From what features/<task>/tfidf.json holds, which has the names of the fields and the two ranges."""
        words, characters = record["word"], record["character"]
        return cls(
            {term: k for k, term in enumerate(words)},
            {term: k for k, term in enumerate(characters, len(words))},
            np.asarray(record["idf"], np.float64),
            (int(record["word_range"][0]), int(record["word_range"][1])),
            (int(record["character_range"][0]), int(record["character_range"][1])),
            bool(record["sublinear"]),
            bool(record["norm"]),
        )

    def weights(self, tokens: Sequence[str], text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Columns, ascending, and their weights."""
        words = self._block(word_ngrams(tokens, *self.word_range), self.word)
        characters = self._block(character_ngrams(text, *self.character_range), self.character)
        columns, weights = (np.concatenate(pair) for pair in zip(words, characters, strict=True))
        return columns, weights.astype(np.float32)

    def _block(self, found: Iterable[str], known: Mapping[str, int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        counted = Counter(known[term] for term in found if term in known)
        columns = np.array(sorted(counted), np.int64)
        counts = np.array([counted[int(column)] for column in columns], np.float64)
        weights = (1 + np.log(counts) if self.sublinear else counts) * self.idf[columns]
        length = np.sqrt((weights**2).sum()) if self.norm else 0
        return columns, weights / length if length else weights
