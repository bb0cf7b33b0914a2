"""What the metrics of classes and of labels share, under rows of weights. R resamples, N examples, K classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

Array = NDArray[Any]


def require_finite(probabilities: Array) -> None:
    """Raises: DataError that names the first row of [N, K] with a number that is none."""
    if not np.isfinite(probabilities).all():
        bad = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise DataError(f"metrics: row {bad} has a probability that is not finite; expected numbers in 0..1")


def share(part: Array, whole: Array) -> Array:
    """part / whole, and 0 where the whole is 0, as scikit-learn's `zero_division=0`."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def mean(values: Array, counted: Array) -> Array:
    """The mean over the last axis of what is counted, and NaN where nothing is."""
    number = counted.sum(axis=1)
    return np.divide((values * counted).sum(axis=1), number, out=np.full(len(values), np.nan), where=number > 0)


def area(positive: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """P(a positive's score > a negative's) + half of P(equal), under each row of weights; and where it is defined."""
    ups, downs = _tied(positive, scores, weights)
    below = np.cumsum(downs, axis=1) - downs / 2
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    return share((ups * below).sum(axis=1), pairs), pairs > 0


def average_precision(positive: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """Σ (recall - recall before) · precision over falling scores, under rows of weights; and where it is defined."""
    ups, downs = _tied(positive, -scores, weights)
    right, told = np.cumsum(ups, axis=1), np.cumsum(ups + downs, axis=1)
    total = ups.sum(axis=1)
    return share((ups * share(right, told)).sum(axis=1), total), total > 0


def _tied(positive: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """The weights of positives and of negatives at each distinct score, from the lowest, [R, scores] each."""
    order = np.argsort(scores, kind="stable")
    ties = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    drawn = weights[:, order]
    ups = np.add.reduceat(drawn * positive[order], ties, axis=1)
    return ups, np.add.reduceat(drawn * ~positive[order], ties, axis=1)
