"""Pairs of near duplicates: int64 [M, 2] of positions, each a < b, sorted, none twice."""

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.errors import DataError

NONE = np.empty((0, 2), np.int64)
MOST = 20_000_000
"""More pairs are no help to anyone, and would fill the memory."""


def collected(pieces: Iterable[np.ndarray], place: str) -> np.ndarray:
    """All pieces as one. Raises: DataError, naming the setting `place`, above `MOST` pairs."""
    found, total = [NONE], 0
    for piece in pieces:
        total += len(piece)
        if total > MOST:
            raise DataError(
                f"{place}: found over {MOST:,} pairs of near duplicates; expected fewer: almost every example is like "
                "every other; make the setting stricter, or take copies out at the source"
            )
        found.append(piece)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def groups(count: int, pairs: np.ndarray) -> np.ndarray:
    """Each example's group, int64 [count]: those that chains of pairs connect have one number; numbers rise by row."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), bool)
    graph = sparse.coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    found = connected_components(graph, directed=False)[1] if count else np.empty(0, np.int64)
    _, first, group = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[group]


def largest_group(count: int, pairs: np.ndarray) -> int:
    """Examples in the largest group; 1 without pairs, 0 without examples."""
    return int(np.bincount(groups(count, pairs), minlength=1).max())


def clusters(count: int, pairs: np.ndarray) -> Iterator[np.ndarray]:
    """The groups of two or more, the largest first, each as sorted positions."""
    found = groups(count, pairs)
    sizes = np.bincount(found, minlength=1)
    order = np.argsort(found, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for group in sorted(np.flatnonzero(sizes > 1), key=lambda group: -sizes[group]):
        yield order[starts[group] : starts[group + 1]]
