"""How probably each label is wrong, by the answers of models that have not seen it: cleanlab's label quality.

N examples, O outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import targets
from pipeline.targets import Target

METHOD = "self_confidence"
"""Of 5 % flipped labels it had 0.855 (solar) and 0.700 (reviews) in the first tenth by the mean of both candidates, the
normalised margin 0.840 and 0.700, weighted entropy 0.840 and 0.700; with adjusted probabilities 0.809 and 0.707.
"""


@dataclass(frozen=True)
class Judged:
    """score: float64 [N], 0 to 1, the lower the more suspicious; suggested: as the column `label` has it.

    given, other: the probability of the given and of the suggested label, float64 [N]; NaN of a value.
    wrong: how many labels are estimated to be wrong; None of a value.
    """

    score: np.ndarray
    suggested: list[str]
    given: np.ndarray
    other: np.ndarray
    wrong: int | None

    @property
    def order(self) -> np.ndarray:
        """The most suspicious first, of equals the one that came first."""
        return np.argsort(self.score, kind="stable")


def judge(labels: Sequence[str], answers: np.ndarray, target: Target) -> Judged:
    """labels: the column `label`; answers [N, O]: probabilities or values by models that have seen none of these."""
    answers = np.asarray(answers, np.float64)
    if target.kind == "value":
        return _value(labels, answers, target)
    return _several(labels, answers, target) if target.kind == "labels" else _classes(labels, answers, target)


def _classes(labels: Sequence[str], answers: np.ndarray, target: Target) -> Judged:
    from cleanlab import count, rank

    number = {name: k for k, name in enumerate(target.names)}
    codes = np.array([number[label] for label in labels], np.int64)
    answers = answers / answers.sum(axis=1, keepdims=True)
    score = rank.get_label_quality_scores(codes, answers, method=METHOD)
    rows, best = np.arange(len(codes)), answers.argmax(axis=1)
    wrong = int(count.num_label_issues(codes, answers))
    return Judged(score, targets.written(answers, target), answers[rows, codes], answers[rows, best], wrong)


def _several(labels: Sequence[str], answers: np.ndarray, target: Target) -> Judged:
    """The probability of several labels is the product of each one's being there or not."""
    from cleanlab import multilabel_classification
    from cleanlab.multilabel_classification import filter as issues

    there = targets.numbers(labels, target) >= 0.5
    lists = [np.flatnonzero(row).tolist() for row in there]
    score = multilabel_classification.get_label_quality_scores(lists, answers)
    told = answers >= 0.5
    given, other = (np.where(which, answers, 1 - answers).prod(axis=1) for which in (there, told))
    wrong = int(issues.find_label_issues(lists, answers, n_jobs=1).sum())
    return Judged(score, targets.written(answers, target), given, other, wrong)


def _value(labels: Sequence[str], answers: np.ndarray, target: Target) -> Judged:
    from cleanlab.regression import rank

    given = targets.numbers(labels, target)[:, 0].astype(np.float64)
    score = rank.get_label_quality_scores(given, answers[:, 0])
    none: Any = np.full(len(given), np.nan)
    return Judged(score, [f"{value:.6g}" for value in answers[:, 0]], none, none, None)
