"""What cross-validation says of each candidate: the mean of every metric over the folds, and how sure it is.

N examples, O outputs, k folds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline import metrics, quality
from pipeline.errors import DataError
from pipeline.folding.answering import Fold
from pipeline.targets import Target

CHOSEN = "chosen"
"""The candidate that is not one: in each fold the one with the better headline on the fold's own validation."""
LEVEL = 0.95
DIGITS = 6


def measured(found: Sequence[Fold], wanted: quality.Config, target: Target) -> dict[str, Any]:
    """What data/metrics/<task>.folds.json says; `wanted` is settled. No measured time: it repeats bit for bit.

    Raises: DataError where a fold is too small for the headline.
    """
    held, tested = (_scored(found, side, wanted, target) for side in ("validation", "test"))
    names = list(tested)
    chosen = [
        quality.chosen({name: held[name][number][wanted.headline] for name in names}, wanted.headline)
        for number in range(len(found))
    ]
    tested[CHOSEN] = [tested[name][number] for number, name in enumerate(chosen)]
    counts = {side: [int(fold.counts[side]) for fold in found] for side in found[0].counts}
    ratio = sum(counts["test"]) / max(sum(counts["train"]), 1)
    by_fold = {name: [fold.answers[name]["test"] for fold in found] for name in names}
    by_fold[CHOSEN] = [fold.answers[name]["test"] for fold, name in zip(found, chosen, strict=True)]
    return {
        "folds": len(found),
        "headline": wanted.headline,
        "examples": counts,
        "leaks": [fold.leaks for fold in found],
        "chosen": chosen,
        "order": names,  # of candidates, which JSON's keys lose
        "candidates": {
            name: _candidate(found, tested[name], answers, wanted, target, ratio) for name, answers in by_fold.items()
        },
        "difference": _difference(tested, wanted, ratio),
    }


def _scored(
    found: Sequence[Fold], side: str, wanted: quality.Config, target: Target
) -> dict[str, list[dict[str, float]]]:
    """Each candidate's metrics on a side of every fold. Raises: DataError where one has no headline."""
    scores = {
        name: [quality.figures(wanted, fold.truth[side], fold.answers[name][side], target) for fold in found]
        for name in found[0].answers
    }
    for name, each in scores.items():
        for number, (fold, one) in enumerate(zip(found, each, strict=True), 1):
            if wanted.headline not in one:
                raise DataError(
                    f"{side} of fold {number} of {len(found)}: found {len(fold.truth[side])} examples, on which "
                    f"{wanted.headline} of {name} is not defined; expected enough for it; lower crossvalidate.folds, "
                    "add examples, or set another evaluate.headline"
                )
    return scores


def _candidate(
    found: Sequence[Fold],
    each: Sequence[Mapping[str, float]],
    answers: Sequence[np.ndarray],
    wanted: quality.Config,
    target: Target,
    ratio: float,
) -> dict[str, Any]:
    """Of each metric that two folds or more define: mean, interval, each fold's value, and that of all answers.

    Not of each class: git tracks this, and `dvc metrics show` gives every number a column.
    """
    shown = (*metrics.of(target.kind).SHOWN, *(f"{name}_accuracy" for name in wanted.binary))
    truth = np.concatenate([fold.truth["test"] for fold in found])
    pooled = quality.intervals(wanted, truth, np.concatenate(answers), target)
    out = {}
    for name in dict.fromkeys(metric for figures in each for metric in figures if metric in shown):
        values = [figures.get(name) for figures in each]
        if sum(value is not None for value in values) < 2:
            continue
        told: dict[str, Any] = asdict(interval([v for v in values if v is not None], ratio, metrics.bounds(name)))
        told = {key: round(value, DIGITS) for key, value in told.items()}
        told["folds"] = [None if value is None else round(value, DIGITS) for value in values]
        if name in pooled:
            told["pooled"] = {key: round(value, DIGITS) for key, value in asdict(pooled[name]).items()}
        out[name] = told
    return out


def _difference(
    tested: Mapping[str, Sequence[Mapping[str, float]]], wanted: quality.Config, ratio: float
) -> dict[str, Any]:
    """Net minus baseline: mean and interval of what they differ by in each fold, of the headline and the groups.

    In pairs, so that what makes a fold hard for both cancels out.
    """
    out = {}
    for name in (wanted.headline, *(f"{group}_accuracy" for group in wanted.binary)):
        pairs = zip(tested["net"], tested["baseline"], strict=True)
        values = [net[name] - baseline[name] for net, baseline in pairs if name in net and name in baseline]
        if len(values) > 1:
            low, high = metrics.bounds(name)
            told = asdict(interval(values, ratio, (low - high, high - low)))
            out[name] = {key: round(value, DIGITS) for key, value in told.items()}
    return out


def interval(values: Sequence[float], ratio: float, bounds: tuple[float, float]) -> metrics.Interval:
    """The mean of k values and its 95 % interval, of which train parts overlap.

    Nadeau and Bengio, Inference for the Generalization Error (2003): the variance of a mean of k folds is that of the
    values times 1/k + n_test/n_train, `ratio` being the latter, with k - 1 degrees of freedom.
    """
    from scipy.stats import t

    count, mean = len(values), float(np.mean(values))
    spread = float(np.std(values, ddof=1)) * math.sqrt(1 / count + ratio)
    away = float(t.ppf((1 + LEVEL) / 2, count - 1)) * spread
    return metrics.Interval(mean, max(bounds[0], mean - away), min(bounds[1], mean + away))
