"""Quality of a value: errors in its own unit, the share of its variance that is told, and how far the order is right.

Shapes: N examples, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.targets import Target

Array = NDArray[Any]
HEADLINES = ("r2", "mae", "rmse", "pearson", "spearman")
BESIDE = "mae"
TRACKED = SHOWN = ("r2", "mae", "rmse", "pearson", "spearman")
NEAR = 0.1
"""Two answers agree that are at most this many standard deviations of the train values apart."""


@dataclass(frozen=True)
class Facts:
    truth: Array  # float64 [N]
    answers: Array

    def __len__(self) -> int:
        return len(self.truth)


def facts(truth: Array, answers: Array, target: Target, binary: Mapping[str, Sequence[str]] | None) -> Facts:
    truth, answers = np.asarray(truth, np.float64), np.asarray(answers, np.float64)
    if binary:
        raise ConfigError(f"binary: found {', '.join(binary)}; expected none: groups are of classes, not of a value")
    if len(truth) == 0 or truth.shape != answers.shape or answers.shape[1:] != (1,):
        raise DataError(
            f"metrics: found answers {answers.shape} for values {truth.shape}; expected one column and one row a value"
        )
    for name, given in (("value", truth), ("answer", answers)):
        if not np.isfinite(given).all():
            bad = int(np.flatnonzero(~np.isfinite(given[:, 0]))[0])
            raise DataError(f"metrics: row {bad} has the {name} {given[bad, 0]}; expected a finite number")
    return Facts(truth[:, 0], answers[:, 0])


def measure(facts: Facts, weights: Array, *, ranked: bool = True) -> dict[str, Array]:
    """Each metric under each row of `weights` [R, N], as [R]; NaN where a resample does not define it.

    r2: 1 - squared errors / squared distances from the mean. spearman: pearson of the ranks, ties at their mean.
    ranked: with spearman, which puts the examples in order and takes most of the time.
    """
    total = weights.sum(axis=1)
    error = facts.answers - facts.truth
    squares = weights @ error**2
    away = facts.truth - facts.truth.mean()
    around = weights @ away**2 - (weights @ away) ** 2 / total
    around = np.where(around > 1e-12 * (weights @ away**2), around, np.nan)
    one = np.ones((len(weights), 1))
    measured = {
        "r2": 1 - squares / around,
        "mae": weights @ np.abs(error) / total,
        "rmse": np.sqrt(squares / total),
        "pearson": _pearson(facts.truth * one, facts.answers * one, weights),
    }
    if ranked:
        measured["spearman"] = _pearson(_ranks(facts.truth, weights), _ranks(facts.answers, weights), weights)
    return measured


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    """Of x and y [R, N] under weights [R, N], [R]; NaN where one of the two does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    x, y = (of - (weights * of).sum(axis=1, keepdims=True) / total for of in (x, y))
    spread = (weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1)
    both = (weights * x * y).sum(axis=1)
    return np.divide(both, np.sqrt(spread), out=np.full(len(both), np.nan), where=spread > 1e-24)


def _ranks(values: Array, weights: Array) -> Array:
    """Of each value among those drawn, [R, N]: equal ones have the mean of the places that they take together."""
    order = np.argsort(values, kind="stable")
    new = np.r_[True, np.diff(values[order]) > 0]
    drawn = np.add.reduceat(weights[:, order], np.flatnonzero(new), axis=1)
    middle = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
    found = np.empty(weights.shape)
    found[:, order] = middle[:, np.cumsum(new) - 1]
    return found


def agreement(a: Array, b: Array, target: Target) -> float:
    """The share of examples whose two answers are near each other."""
    return float((np.abs(a - b)[:, 0] <= NEAR * target.std).mean())
