"""Quality of several labels at once, each told where its probability is 0.5 or more.

Shapes: N examples, O labels, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.metrics._shares import area, average_precision, mean, require_finite, share
from pipeline.targets import Target

Array = NDArray[Any]
HEADLINES = ("macro_f1", "micro_f1", "exact_match", "average_precision", "roc_auc", "hamming_loss")
BESIDE = "exact_match"
TRACKED = ("macro_f1", "micro_f1", "exact_match", "hamming_loss", "average_precision", "roc_auc", "log_loss")
SHOWN = (
    *("macro_f1", "micro_f1", "exact_match", "hamming_loss", "macro_precision", "macro_recall"),
    *("average_precision", "roc_auc", "log_loss"),
)


@dataclass(frozen=True)
class Facts:
    names: Sequence[str]
    there: Array  # bool [N, O]
    told: Array  # bool [N, O]
    probabilities: Array  # float64 [N, O]
    surprise: Array  # [N], mean over labels of -log p of what is so

    def __len__(self) -> int:
        return len(self.there)


def facts(truth: Array, answers: Array, target: Target, binary: Mapping[str, Sequence[str]] | None) -> Facts:
    truth, answers = np.asarray(truth), np.asarray(answers, np.float64)
    if binary:
        raise ConfigError(f"binary: found {', '.join(binary)}; expected none: groups are of classes, not of labels")
    if len(truth) == 0 or truth.shape != answers.shape or answers.shape[1:] != (target.outputs,):
        raise DataError(
            f"metrics: found probabilities {answers.shape} for labels {truth.shape} of {target.outputs} names; "
            "expected one row an example and one column a label"
        )
    require_finite(answers)
    there = truth >= 0.5
    sure = np.clip(np.where(there, answers, 1 - answers), np.finfo(np.float32).eps, 1.0)
    return Facts(target.names, there, answers >= 0.5, answers, -np.log(sure).mean(axis=1))


def measure(facts: Facts, weights: Array, *, ranked: bool = True) -> dict[str, Array]:
    """Each metric under each row of `weights` [R, N], as [R]; NaN where a resample does not define it.

    macro_*: means over the labels that are there or told; average_precision, roc_auc: over those where it is defined.
    ranked: with these two, which put the examples of every label in order and take most of the time.
    """
    hit, actual, told = (weights @ of.astype(np.float64) for of in (facts.there & facts.told, facts.there, facts.told))
    total = weights.sum(axis=1)
    precision, recall, f1 = share(hit, told), share(hit, actual), share(2 * hit, actual + told)
    seen = actual + told > 0
    wrong = (facts.there != facts.told).mean(axis=1)
    measured = {
        "macro_f1": mean(f1, seen),
        "micro_f1": share(2 * hit.sum(axis=1), (actual + told).sum(axis=1)),
        "exact_match": weights @ (wrong == 0).astype(np.float64) / total,
        "hamming_loss": weights @ wrong / total,
        "macro_precision": mean(precision, seen),
        "macro_recall": mean(recall, seen),
        "log_loss": weights @ facts.surprise / total,
    }
    each = {"precision": precision, "recall": recall, "f1": f1}
    if ranked:
        for metric, of_one in (("average_precision", average_precision), ("roc_auc", area)):
            columns = zip(facts.there.T, facts.probabilities.T, strict=True)
            found = [of_one(there, probabilities, weights) for there, probabilities in columns]
            values, known = (np.stack(part, axis=1) for part in zip(*found, strict=True))
            measured[metric] = mean(values, known)
            each[metric] = np.where(known, values, np.nan)
    for k, name in enumerate(facts.names):
        measured |= {f"{metric}/{name}": values[:, k] for metric, values in each.items()}
    return measured


def agreement(a: Array, b: Array, target: Target) -> float:
    """The share of examples with the same labels."""
    return float(((a >= 0.5) == (b >= 0.5)).all(axis=1).mean())
