"""Counts of every n-gram of a corpus at once, on arrays; features/terms.py does the same for one text.

A corpus is flat integer codes (of tokens or characters) and offsets: document i is codes[offsets[i]:offsets[i + 1]].
D documents, P places at which an n-gram starts, G distinct n-grams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Grams:
    """The n-grams of one size."""

    size: int
    documents: np.ndarray  # int64 [P]
    ids: np.ndarray  # int64 [P], which n-gram starts there, 0..G-1
    first: np.ndarray  # int64 [G], where in codes an n-gram first starts


def grams(codes: np.ndarray, offsets: np.ndarray, high: int) -> Iterator[Grams]:
    """The n-grams of sizes 1 to `high`; an n-gram is the pair of its first n - 1 codes and its last."""
    documents = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    ends = offsets[1:][documents]
    places = np.arange(len(codes))
    span = int(codes.max(initial=0)) + 1
    prefix = np.zeros(len(codes), np.int64)  # of the n-gram that starts at each code
    for size in range(1, high + 1):
        places = places[places + size <= ends[places]]
        pairs = prefix[places] * span + codes[places + size - 1]
        _, first, ids = np.unique(pairs, return_index=True, return_inverse=True)
        prefix[places] = ids
        yield Grams(size, documents[places], ids, places[first])


def frequent(found: Grams, fitted: int, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """N-grams that stand in at least `minimum` of the first `fitted` documents, and in how many each stands."""
    inside = found.documents < fitted
    pairs = np.unique(found.ids[inside] * np.int64(fitted) + found.documents[inside])
    frequency = np.bincount(pairs // max(fitted, 1), minlength=len(found.first))
    kept = np.flatnonzero(frequency >= minimum)
    return kept, frequency[kept]


def counts(found: Grams, columns: np.ndarray, documents: int, width: int) -> "csr_matrix":
    """Float32 [D, width]: how often each n-gram stands in each document; `columns` [G] is -1 for what is left out."""
    from scipy.sparse import csr_matrix

    column = columns[found.ids]
    kept = column >= 0
    ones = np.ones(int(kept.sum()), np.float32)
    return csr_matrix((ones, (found.documents[kept], column[kept])), shape=(documents, width))
