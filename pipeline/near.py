"""Near duplicates: which pairs of examples are almost the same. Exact, not sampled.

N examples, S pixels a side of a small grey copy, M pairs. A pair (a, b) has a < b; pairs are sorted.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

GREY = 64  # pixels a side of the copy that the correlation compares
NO_PAIRS = np.empty((0, 2), np.int64)


def dhash(image: Image.Image) -> int:
    """64 bits: whether each of 8×8 pixels of a small grey copy is darker than its right neighbour."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def grey(image: Image.Image) -> np.ndarray:
    """uint8 [GREY, GREY]."""
    return np.asarray(image.convert("L").resize((GREY, GREY), Image.Resampling.BICUBIC))


def images(hashes: np.ndarray, greys: np.ndarray, rows: np.ndarray, *, distance: int, correlation: float) -> np.ndarray:
    """int64 [M, 2]: pairs whose hashes differ in at most `distance` bits and whose greys correlate.

    hashes uint64 [N]; greys uint8 [any, S, S], may be memory-mapped; greys[rows[n]] is that of hashes[n].
    One-colour images, whose correlation is undefined, are near to none.
    """
    found = []
    for pairs in _hash_pairs(hashes, distance):
        for piece in np.array_split(pairs, math.ceil(len(pairs) / 4096) or 1):
            found.append(piece[_correlations(greys, rows[piece]) >= correlation])
    return np.unique(np.concatenate([NO_PAIRS, *found]), axis=0)


def _hash_pairs(hashes: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """By the pigeonhole principle two hashes within `distance` bits are equal in one of `distance + 1` bands."""
    edges = np.linspace(0, 64, distance + 2).round().astype(int)
    bands = [(hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1) for low, high in itertools.pairwise(edges)]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order[:1]] + np.uint64(1)))
        for members in np.split(order, starts[1:]) if len(order) else []:
            for row, a in enumerate(members[:-1]):
                others = members[row + 1 :]
                close = others[np.bitwise_count(hashes[others] ^ hashes[a]) <= distance]
                # A pair that an earlier band has shown is not shown again.
                fresh = [b for b in close if not any(band_[a] == band_[b] for band_ in bands[:number])]
                if fresh:
                    yield np.array([(a, b) for b in fresh], np.int64)


def _correlations(greys: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """float64 [M]: Pearson's correlation of the two greys of each pair; NaN where one has a single colour."""

    def standard(rows: np.ndarray) -> np.ndarray:
        flat = greys[rows].reshape(len(rows), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    return np.einsum("nd,nd->n", standard(pairs[:, 0]), standard(pairs[:, 1]))


def grams(text: str, size: int = 3) -> set[str]:
    """The text's runs of `size` characters; a shorter text is its own only one."""
    return {text[k : k + size] for k in range(len(text) - size + 1)} or {text}


def texts(rows: Sequence[str], *, jaccard: float) -> np.ndarray:
    """int64 [M, 2]: pairs whose sets of 3-grams have a Jaccard similarity of at least `jaccard`.

    Prefix filtering (Chaudhuri et al. 2006; Xiao et al. 2008): with grams in one order, rare ones first, two
    sets that are similar enough share a gram among the first |x| - ceil(jaccard · |x|) + 1 of each.
    """
    share = Fraction(str(jaccard))
    ranked = _ranked(rows)
    index: defaultdict[int, list[int]] = defaultdict(list)
    found: list[tuple[int, int]] = []
    for a in sorted(range(len(rows)), key=lambda row: len(ranked[row])):  # shorter sets are in the index already
        size = len(ranked[a])
        shortest = math.ceil(share * size)
        prefix = ranked[a][: size - shortest + 1]
        candidates = {b for gram in prefix for b in index[gram] if len(ranked[b]) >= shortest}
        if candidates:
            mine = set(ranked[a])
            for b in candidates:
                both = len(mine.intersection(ranked[b]))
                if both >= share * (size + len(ranked[b]) - both):
                    found.append((min(a, b), max(a, b)))
        for gram in prefix:
            index[gram].append(a)
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _ranked(rows: Sequence[str]) -> list[list[int]]:
    """Each text's set of grams as numbers, the rarest gram first."""
    sets = [grams(row) for row in rows]
    counts = Counter(gram for members in sets for gram in members)
    rank = {
        gram: number for number, (gram, _) in enumerate(sorted(counts.items(), key=lambda item: (item[1], item[0])))
    }
    return [sorted(rank[gram] for gram in members) for members in sets]


def largest_group(count: int, pairs: np.ndarray) -> int:
    """Examples in the largest set that chains of pairs connect; 1 without pairs, 0 without examples."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs.tolist():
        parent[root(a)] = root(b)
    return max(Counter(root(node) for node in range(count)).values(), default=0)
