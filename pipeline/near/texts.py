"""Which texts are almost the same: their sets of three-character runs have a high Jaccard similarity.

N texts, M pairs. Below `EXACT` texts all pairs are found; above, those that share a band of MinHash values
(Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3), each confirmed by its exact similarity.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from pipeline.near import pairs

Method = Literal["auto", "exact", "banded"]
EXACT = 50_000  # texts
CHARACTERS = 10_000_000  # in all; the exact search holds 70 bytes of memory for each
MISSED = 0.0005  # the share of pairs on the threshold that banding may miss; of more similar ones it misses fewer
HASHES = 160  # of a text, at most
PIECE = 1 << 16  # texts or pairs at once, of no more characters than CHARACTERS


def grams(text: str, size: int = 3) -> set[str]:
    """The text's runs of `size` characters; a shorter text is its own only one."""
    return {text[k : k + size] for k in range(len(text) - size + 1)} or {text}


def neighbours(rows: Sequence[str], *, jaccard: float, method: Method = "auto") -> np.ndarray:
    """int64 [M, 2]: pairs whose sets of 3-grams have a Jaccard similarity of at least `jaccard`."""
    all_of_them = (chosen(rows) if method == "auto" else method) == "exact"
    found = exact(rows, jaccard) if all_of_them else banded(rows, jaccard)
    return pairs.collected(found, "validate.near_jaccard")


def chosen(rows: Sequence[str]) -> Method:
    """Exact where time and memory allow for it."""
    return "exact" if len(rows) < EXACT and sum(map(len, rows)) <= CHARACTERS else "banded"


def exact(rows: Sequence[str], jaccard: float) -> Iterator[np.ndarray]:
    """All pairs, by prefix filtering (Chaudhuri et al. 2006; Xiao et al. 2008).

    With grams in one order, rare ones first, two sets that are similar enough share a gram among the first
    |x| - ceil(jaccard · |x|) + 1 of each.
    """
    from pipeline.near import kernels

    if len(rows) < 2:
        return
    share = Fraction(str(jaccard))
    members, offsets = kernels.grams(*_characters(rows))
    _, names, counts = np.unique(members, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int32)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    ranks = rank[names]
    kernels.sort_each(ranks, offsets)
    lists = kernels.prefixes(ranks, offsets, len(counts), share.numerator, share.denominator)
    order = np.argsort(np.diff(offsets), kind="stable")
    yield kernels.joined(ranks, offsets, order, share.numerator, share.denominator, lists)


def banded(rows: Sequence[str], jaccard: float) -> Iterator[np.ndarray]:
    """Pairs that agree in a band of MinHash values and are near, in pieces; 8 bytes of memory a text and band."""
    from pipeline.near import kernels

    share = Fraction(str(jaccard))
    bands, height = shape(jaccard)
    factors = np.random.default_rng(0).integers(0, 2**63, bands * height, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.empty((len(rows), bands), np.uint64)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    for some in _pieces(lengths):
        keys[some] = kernels.signatures(*kernels.grams(*_characters(rows[some])), factors, bands)
    for band in range(bands):
        order = np.argsort(keys[:, band], kind="stable")
        state = np.array([0, 1], np.int64)
        while state[0] < len(order) - 1:
            found = kernels.together(keys, order, band, state, PIECE)
            for some in _pieces(lengths[found].sum(axis=1)):
                yield found[some][_confirmed(rows, found[some], share)]


def _pieces(sizes: np.ndarray) -> Iterator[slice]:
    """Items in order, at most `PIECE` and of `CHARACTERS`, or one that is longer; sizes: each one's characters."""
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        fitting = int(np.searchsorted(ends, before + CHARACTERS, side="right"))
        end = min(max(fitting, start + 1), start + PIECE)
        yield slice(start, end)
        start = end


def shape(jaccard: float) -> tuple[int, int]:
    """Bands and values a band: the tallest bands, which show the fewest far pairs, that miss at most `MISSED`."""
    for height in range(8, 0, -1):
        share = jaccard**height
        bands = 1 if share == 1 else math.ceil(math.log(MISSED) / math.log1p(-share))
        if bands * height <= HASHES:
            return bands, height
    raise AssertionError(jaccard)


def _confirmed(rows: Sequence[str], piece: np.ndarray, share: Fraction) -> np.ndarray:
    """bool [M]: which pairs are near, by their exact similarity."""
    from pipeline.near import kernels

    named, places = np.unique(piece, return_inverse=True)
    sets = kernels.grams(*_characters([rows[row] for row in named]))
    return kernels.similar(*sets, places.reshape(-1, 2), share.numerator, share.denominator)


def _characters(rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All characters as uint32, flat, and each text's offsets, int64 [N + 1]."""
    characters = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), np.uint32)
    return characters, np.cumsum([0, *map(len, rows)], dtype=np.int64)
