"""Quality of predictions, each figure with its bootstrap interval; pure functions on arrays.

Shapes: N examples, K classes, R resamples. One code path serves the plain score and the bootstrap: a resample
is a row of weights (how often each example was drawn), and the plain score is the row of ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError

Array = NDArray[Any]
CHUNK = 4_000_000
"""Resampled weights held at once, so that memory does not grow with N times R."""


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds of its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


def score(
    labels: Array,
    probabilities: Array,
    classes: Sequence[str],
    binary: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, float]:
    """Every metric of `probabilities` [N, K] against `labels` [N].

    accuracy, balanced_accuracy, macro_precision, macro_recall, macro_f1, roc_auc (one against the rest, mean
    over classes; left out where no class has both), log_loss; precision/<class>, recall/<class>, f1/<class>; and
    <name>_accuracy for each group of classes in `binary`: the group's summed probability ≥ 0.5 against membership.
    Means run over the classes seen in labels or predictions, as in scikit-learn.

    Raises: DataError for arrays that do not fit or are not finite, ConfigError for a group of unknown classes.
    """
    facts = _facts(labels, probabilities, classes, binary)
    ones = np.ones((1, len(facts.labels)))
    return {name: float(values[0]) for name, values in _measure(facts, ones).items() if np.isfinite(values[0])}


def interval(
    labels: Array,
    probabilities: Array,
    classes: Sequence[str],
    binary: Mapping[str, Sequence[str]] | None = None,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Each metric of `score` with its interval over `resamples` draws of N examples with replacement."""
    facts = _facts(labels, probabilities, classes, binary)
    parts = [_measure(facts, weights) for weights in _resamples(len(facts.labels), seed, resamples)]
    result = {}
    for name, value in score(labels, probabilities, classes, binary).items():
        low, high = np.nanpercentile(np.concatenate([part[name] for part in parts]), [2.5, 97.5])
        result[name] = Interval(value, float(low), float(high))
    return result


def paired_gain(
    labels: Array,
    a: Array,
    b: Array,
    metric: str = "accuracy",
    *,
    classes: Sequence[str] | None = None,
    binary: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """How much better `b` is than `a` (both [N, K]) on the same examples; above 0 means that `b` is better.

    Both are measured on the same resamples, so that what makes an example hard for both cancels out.
    """
    names = list(classes) if classes is not None else [str(k) for k in range(np.shape(a)[-1])]
    facts = [_facts(labels, probabilities, names, binary) for probabilities in (a, b)]
    sign = -1.0 if metric == "log_loss" else 1.0

    def gains(weights: Array) -> Array:
        first, second = (_measure(fact, weights) for fact in facts)
        if metric not in first:
            raise ConfigError(f"metric: found {metric!r}; expected one of {', '.join(first)}")
        return sign * (second[metric] - first[metric])

    value = gains(np.ones((1, len(labels))))[0]
    drawn = np.concatenate([gains(weights) for weights in _resamples(len(labels), seed, resamples)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


@dataclass(frozen=True)
class _Facts:
    """What a measurement needs of one candidate, whatever the weights."""

    labels: Array
    probabilities: Array
    classes: Sequence[str]
    predicted: Array
    surprise: Array  # [N], -log p of the label
    groups: Mapping[str, Array]  # name -> [N], 1 where membership is told rightly


def _facts(
    labels: Array,
    probabilities: Array,
    classes: Sequence[str],
    binary: Mapping[str, Sequence[str]] | None,
) -> _Facts:
    labels, probabilities = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    if len(labels) == 0 or probabilities.shape != (len(labels), len(classes)):
        raise DataError(
            f"metrics: found probabilities {probabilities.shape} for {len(labels)} labels and {len(classes)} classes; "
            "expected one row a label and one column a class"
        )
    if not np.isfinite(probabilities).all():
        bad = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise DataError(f"metrics: row {bad} has a probability that is not finite; expected numbers in 0..1")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"metrics: found labels {labels.min()}..{labels.max()}; expected 0..{len(classes) - 1}")
    groups = {name: _group(labels, probabilities, classes, name, of) for name, of in (binary or {}).items()}
    of_label = probabilities[np.arange(len(labels)), labels]
    surprise = -np.log(np.clip(of_label, np.finfo(np.float32).eps, 1.0))
    return _Facts(labels, probabilities, classes, probabilities.argmax(axis=1), surprise, groups)


def _group(labels: Array, probabilities: Array, classes: Sequence[str], name: str, members: Sequence[str]) -> Array:
    for member in members:
        if member not in classes:
            raise ConfigError(f"binary.{name}: found {member!r}; expected classes out of {', '.join(classes)}")
    columns = [list(classes).index(member) for member in members]
    return ((probabilities[:, columns].sum(axis=1) >= 0.5) == np.isin(labels, columns)).astype(np.float64)


def _resamples(size: int, seed: int, resamples: int) -> Iterator[Array]:
    """Weights [r, N], each row summing to N, in chunks whose r add up to `resamples`."""
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
        yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def _measure(facts: _Facts, weights: Array) -> dict[str, Array]:
    """Each metric under each row of `weights` [R, N], as [R]; NaN where a resample does not define it."""
    count = len(facts.classes)
    total = weights.sum(axis=1)
    right = facts.labels == facts.predicted
    hit = _by_class(weights[:, right], facts.labels[right], count)
    actual, predicted = (_by_class(weights, of, count) for of in (facts.labels, facts.predicted))
    measured = _of_classes(hit, actual, predicted, facts.classes)
    measured["roc_auc"] = _roc_auc(facts, weights)
    measured["log_loss"] = weights @ facts.surprise / total
    for name, told in facts.groups.items():
        measured[f"{name}_accuracy"] = weights @ told / total
    return measured


def _by_class(weights: Array, classes: Array, count: int) -> Array:
    """The weights [R, N] added up over each class [N], as [R, K]; memory grows with K, not with its square."""
    found = np.zeros((len(weights), count))
    if len(classes):
        order = np.argsort(classes, kind="stable")
        present, starts = np.unique(classes[order], return_index=True)
        found[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return found


def _of_classes(hit: Array, actual: Array, predicted: Array, classes: Sequence[str]) -> dict[str, Array]:
    """The metrics that each class's weight of hits, labels and predictions [R, K] decide."""
    precision, recall = _share(hit, predicted), _share(hit, actual)
    f1 = _share(2 * hit, actual + predicted)
    seen = (actual + predicted) > 0
    measured = {
        "accuracy": hit.sum(axis=1) / actual.sum(axis=1),
        "balanced_accuracy": _mean(recall, actual > 0),
        "macro_precision": _mean(precision, seen),
        "macro_recall": _mean(recall, seen),
        "macro_f1": _mean(f1, seen),
    }
    for k, name in enumerate(classes):
        measured |= {f"precision/{name}": precision[:, k], f"recall/{name}": recall[:, k], f"f1/{name}": f1[:, k]}
    return measured


def _share(part: Array, whole: Array) -> Array:
    """part / whole, and 0 where the whole is 0, as scikit-learn's `zero_division=0`."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _mean(values: Array, counted: Array) -> Array:
    """The mean over the last axis of what is counted, and NaN where nothing is."""
    number = counted.sum(axis=1)
    return np.divide((values * counted).sum(axis=1), number, out=np.full(len(values), np.nan), where=number > 0)


def _roc_auc(facts: _Facts, weights: Array) -> Array:
    areas, defined = [], []
    for k in range(len(facts.classes)):
        area, known = _area(facts.labels == k, facts.probabilities[:, k], weights)
        areas.append(area)
        defined.append(known)
    return _mean(np.stack(areas, axis=1), np.stack(defined, axis=1))


def _area(positive: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """P(a positive's score > a negative's) + half of P(equal), under each row of weights; and where it is defined."""
    order = np.argsort(scores, kind="stable")
    ties = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    drawn = weights[:, order]
    ups = np.add.reduceat(drawn * positive[order], ties, axis=1)
    downs = np.add.reduceat(drawn * ~positive[order], ties, axis=1)
    below = np.cumsum(downs, axis=1) - downs / 2
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    return _share((ups * below).sum(axis=1), pairs), pairs > 0
