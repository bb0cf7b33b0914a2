"""Quality of one class of several.

accuracy, balanced_accuracy, macro_precision, macro_recall, macro_f1, roc_auc (one against the rest, mean over classes;
left out where no class has both), log_loss; precision/<class>, recall/<class>, f1/<class>; and <name>_accuracy for each
group of classes in `binary`: the group's summed probability ≥ 0.5 against membership. Means run over the classes seen
in labels or predictions, as in scikit-learn.
Shapes: N examples, K classes, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.metrics._shares import area, mean, require_finite, share
from pipeline.targets import Target

Array = NDArray[Any]
HEADLINES = ("macro_f1", "accuracy", "balanced_accuracy")
BESIDE = "accuracy"
TRACKED = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss")
SHOWN = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "roc_auc", "log_loss")


@dataclass(frozen=True)
class Facts:
    """What a measurement needs of one candidate, whatever the weights."""

    labels: Array
    probabilities: Array
    classes: Sequence[str]
    predicted: Array
    surprise: Array  # [N], -log p of the label
    groups: Mapping[str, Array]  # name -> [N], 1 where membership is told rightly

    def __len__(self) -> int:
        return len(self.labels)


def facts(truth: Array, answers: Array, target: Target, binary: Mapping[str, Sequence[str]] | None) -> Facts:
    labels, probabilities = np.asarray(truth, np.int64), np.asarray(answers, np.float64)
    classes = target.names
    if len(labels) == 0 or probabilities.shape != (len(labels), len(classes)):
        raise DataError(
            f"metrics: found probabilities {probabilities.shape} for {len(labels)} labels and {len(classes)} classes; "
            "expected one row a label and one column a class"
        )
    require_finite(probabilities)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"metrics: found labels {labels.min()}..{labels.max()}; expected 0..{len(classes) - 1}")
    groups = {name: _group(labels, probabilities, classes, name, of) for name, of in (binary or {}).items()}
    of_label = probabilities[np.arange(len(labels)), labels]
    surprise = -np.log(np.clip(of_label, np.finfo(np.float32).eps, 1.0))
    return Facts(labels, probabilities, classes, probabilities.argmax(axis=1), surprise, groups)


def _group(labels: Array, probabilities: Array, classes: Sequence[str], name: str, members: Sequence[str]) -> Array:
    for member in members:
        if member not in classes:
            raise ConfigError(f"binary.{name}: found {member!r}; expected classes out of {', '.join(classes)}")
    columns = [list(classes).index(member) for member in members]
    return ((probabilities[:, columns].sum(axis=1) >= 0.5) == np.isin(labels, columns)).astype(np.float64)


def measure(facts: Facts, weights: Array, *, ranked: bool = True) -> dict[str, Array]:
    """Each metric under each row of `weights` [R, N], as [R]; NaN where a resample does not define it.

    ranked: with roc_auc, which puts the examples of every class in order and takes most of the time.
    """
    count = len(facts.classes)
    total = weights.sum(axis=1)
    right = facts.labels == facts.predicted
    hit = _by_class(weights[:, right], facts.labels[right], count)
    actual, predicted = (_by_class(weights, of, count) for of in (facts.labels, facts.predicted))
    measured = _of_classes(hit, actual, predicted, facts.classes)
    if ranked:
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
    precision, recall = share(hit, predicted), share(hit, actual)
    f1 = share(2 * hit, actual + predicted)
    seen = (actual + predicted) > 0
    measured = {
        "accuracy": hit.sum(axis=1) / actual.sum(axis=1),
        "balanced_accuracy": mean(recall, actual > 0),
        "macro_precision": mean(precision, seen),
        "macro_recall": mean(recall, seen),
        "macro_f1": mean(f1, seen),
    }
    for k, name in enumerate(classes):
        measured |= {f"precision/{name}": precision[:, k], f"recall/{name}": recall[:, k], f"f1/{name}": f1[:, k]}
    return measured


def _roc_auc(facts: Facts, weights: Array) -> Array:
    areas, defined = [], []
    for k in range(len(facts.classes)):
        found, known = area(facts.labels == k, facts.probabilities[:, k], weights)
        areas.append(found)
        defined.append(known)
    return mean(np.stack(areas, axis=1), np.stack(defined, axis=1))


def agreement(a: Array, b: Array, target: Target) -> float:
    """The share of examples with the same likeliest class."""
    return float(np.mean(a.argmax(axis=1) == b.argmax(axis=1)))
