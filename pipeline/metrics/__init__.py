"""Quality of answers, each figure with its bootstrap interval; pure functions on arrays, a file a kind of target.

Shapes: N examples, O outputs, R resamples. One code path serves the plain score and the bootstrap: a resample is a row
of weights (how often each example was drawn), and the plain score is the row of ones.
What is true is int64 [N], numbers of classes, for classes, and [N, O] for the others, as answers are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.targets import Kind, Target

Array = NDArray[Any]
CHUNK = 4_000_000
"""Resampled weights held at once, so that memory does not grow with N times R."""
ERRORS = ("log_loss", "hamming_loss", "mae", "rmse")
"""Of these the lower is the better; of all others the higher."""
IN_UNITS = ("mae", "rmse")
"""These are in the value's own unit."""


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds of its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


def of(kind: Kind) -> ModuleType:
    """The kind's file, with HEADLINES (the first is the usual one), BESIDE (read next), TRACKED, SHOWN, facts, measure
    and agreement.
    """
    return config.plugin("metrics", kind, "target")


def sign(metric: str) -> float:
    """1 where the higher is the better, else -1."""
    return -1.0 if metric in ERRORS else 1.0


def bounds(metric: str) -> tuple[float, float]:
    """The least and the greatest value that a metric can have."""
    if metric in ("log_loss", "mae", "rmse"):
        return 0.0, float("inf")
    return {"r2": -float("inf"), "pearson": -1.0, "spearman": -1.0}.get(metric, 0.0), 1.0


def score(
    truth: Array, answers: Array, target: Target, binary: Mapping[str, Sequence[str]] | None = None
) -> dict[str, float]:
    """Every metric of the answers [N, O], those left out that are not defined; binary: groups of classes.

    Raises: DataError for arrays that do not fit or are not finite, ConfigError for a group of unknown classes.
    """
    module = of(target.kind)
    facts = module.facts(truth, answers, target, binary)
    ones = np.ones((1, len(facts)))
    return {name: float(values[0]) for name, values in module.measure(facts, ones).items() if np.isfinite(values[0])}


def interval(
    truth: Array,
    answers: Array,
    target: Target,
    binary: Mapping[str, Sequence[str]] | None = None,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Each metric of `score` with its interval over `resamples` draws of N examples with replacement."""
    module = of(target.kind)
    facts = module.facts(truth, answers, target, binary)
    parts = [module.measure(facts, weights) for weights in _resamples(len(facts), seed, resamples)]
    result = {}
    for name, value in score(truth, answers, target, binary).items():
        low, high = np.nanpercentile(np.concatenate([part[name] for part in parts]), [2.5, 97.5])
        result[name] = Interval(value, float(low), float(high))
    return result


def paired_gain(
    truth: Array, a: Array, b: Array, metric: str, target: Target, *, seed: int = 0, resamples: int = 1000
) -> Interval:
    """How much better `b` is than `a` (both [N, O]) on the same examples; above 0 means that `b` is better."""
    return paired_gains(truth, a, b, [metric], target, seed=seed, resamples=resamples)[metric]


def paired_gains(
    truth: Array,
    a: Array,
    b: Array,
    wanted: Sequence[str],
    target: Target,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """`paired_gain` by several metrics, with intervals that hold this share of the draws.

    Both are measured on the same resamples, so that what makes an example hard for both cancels out.
    """
    module = of(target.kind)
    facts = [module.facts(truth, answers, target, None) for answers in (a, b)]
    once = np.ones((1, len(truth)))
    ranked = not module.measure(facts[0], once, ranked=False).keys() >= set(wanted)

    def gains(weights: Array) -> dict[str, Array]:
        first, second = (module.measure(fact, weights, ranked=ranked) for fact in facts)
        for metric in wanted:
            if metric not in first:
                raise ConfigError(f"metric: found {metric!r}; expected one of {', '.join(first)}")
        return {metric: sign(metric) * (second[metric] - first[metric]) for metric in wanted}

    values = gains(once)
    drawn = [gains(weights) for weights in _resamples(len(truth), seed, resamples)]
    outside = [50 * (1 - level), 50 * (1 + level)]
    found = {}
    for metric in wanted:
        low, high = np.nanpercentile(np.concatenate([part[metric] for part in drawn]), outside)
        found[metric] = Interval(float(values[metric][0]), float(low), float(high))
    return found


def _resamples(size: int, seed: int, resamples: int) -> Iterator[Array]:
    """Weights [r, N], each row summing to N, in chunks whose r add up to `resamples`."""
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
        yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
