"""Which train examples an epoch shows, where classes are of unequal size. Validation and test are never resampled.

N examples, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

Sampling = Literal["natural", "balanced", "oversample", "undersample"]


def sizes(counts: np.ndarray, sampling: Sampling | Sequence[float]) -> np.ndarray:
    """How many examples of each class an epoch shows, int64 [K], of the counts [K] there are.

    natural: as many as there are. balanced: the same number of each, N in all. oversample: of each as many as of the
    largest. undersample: of each as many as of the smallest. Weights [K]: N in all, each class's share multiplied
    by its weight. A class without examples stays without.
    """
    there = counts > 0
    if not there.any() or (isinstance(sampling, str) and sampling == "natural"):
        return counts.astype(np.int64)
    if isinstance(sampling, str) and sampling != "balanced":
        size = counts.max() if sampling == "oversample" else counts[there].min()
        return np.where(there, size, 0).astype(np.int64)
    shares = there.astype(np.float64) if isinstance(sampling, str) else counts * np.asarray(sampling, np.float64)
    return _apportioned(shares / shares.sum(), int(counts.sum()))


def _apportioned(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers with this total, by largest remainders."""
    exact = shares * total
    whole = np.floor(exact).astype(np.int64)
    most = np.argsort(whole - exact, kind="stable")[: total - whole.sum()]
    whole[most] += 1
    return whole


def epoch(
    labels: np.ndarray, classes: int, sampling: Sampling | Sequence[float], random: np.random.Generator
) -> np.ndarray:
    """The rows of one epoch, int64, in a random order; labels int64 [N] below `classes`.

    A class that is shown more often than it has examples shows all of them before it repeats one.
    """
    counts = np.bincount(labels, minlength=classes)
    wanted = sizes(counts, sampling)
    order = np.argsort(labels, kind="stable")
    mine = np.split(order, np.cumsum(counts)[:-1])
    chosen = [
        random.permutation(rows)[: size - start]
        for rows, size in zip(mine, wanted.tolist(), strict=True)
        for start in range(0, size, max(len(rows), 1))
    ]
    return random.permutation(np.concatenate([np.empty(0, np.int64), *chosen]))


def checked(weights: Mapping[str, float], classes: Sequence[str]) -> list[float]:
    """The weights in the order of the classes, 1 where none is given. Raises: ValueError for an unknown class."""
    for name, weight in weights.items():
        if name not in classes:
            raise ValueError(f"{name}: no such class; expected some of {', '.join(classes)}")
        if not 0 < weight < 1e6:
            raise ValueError(f"{name}: found {weight}; expected a number above 0")
    return [float(weights.get(name, 1.0)) for name in classes]
