"""What cross-validation says of each candidate: the mean of every metric over the folds, and how sure it is.

N examples, O outputs, k folds.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline import metrics, quality
from pipeline.folding.answering import Fold
from pipeline.targets import Target

CHOSEN = "chosen"
"""The candidate that is not one: in each fold the one with the better headline on the fold's own validation."""
LEVEL = 0.95
DIGITS = 6


def measured(found: Sequence[Fold], wanted: quality.Config, target: Target) -> dict[str, Any]:
    """What data/metrics/<task>.folds.json says; `wanted` is settled. No measured time: it repeats bit for bit."""
    chosen = [_better(fold, wanted, target) for fold in found]
    sides = found[0].counts
    counts = {side: [int(fold.counts[side]) for fold in found] for side in sides}
    ratio = sum(counts["test"]) / max(sum(counts["train"]), 1)
    names = list(found[0].answers)
    by_fold = {name: [fold.answers[name]["test"] for fold in found] for name in names}
    by_fold[CHOSEN] = [fold.answers[name]["test"] for fold, name in zip(found, chosen, strict=True)]
    return {
        "folds": len(found),
        "headline": wanted.headline,
        "examples": counts,
        "leaks": [fold.leaks for fold in found],
        "chosen": chosen,
        "tested": names,  # in their order, which JSON's keys lose
        "candidates": {name: _candidate(found, answers, wanted, target, ratio) for name, answers in by_fold.items()},
    }


def _better(fold: Fold, wanted: quality.Config, target: Target) -> str:
    truth = fold.truth["validation"]
    scores = {
        name: quality.figures(wanted, truth, answers["validation"], target)[wanted.headline]
        for name, answers in fold.answers.items()
    }
    return quality.chosen(scores, wanted.headline)


def _candidate(
    found: Sequence[Fold], answers: Sequence[np.ndarray], wanted: quality.Config, target: Target, ratio: float
) -> dict[str, Any]:
    """Of each metric that two folds or more define: mean, interval, each fold's value, and that of all answers.

    Not of each class: git tracks this, and `dvc metrics show` gives every number a column.
    """
    shown = (*metrics.of(target.kind).SHOWN, *(f"{name}_accuracy" for name in wanted.binary))
    each = [
        quality.figures(wanted, fold.truth["test"], mine, target) for fold, mine in zip(found, answers, strict=True)
    ]
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
