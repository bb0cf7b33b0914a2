"""Planted wrong labels come first, of every kind of target."""

import numpy as np
import pytest

from pipeline import suspicion, targets
from pipeline.targets import Target

RANDOM = np.random.default_rng(0)


def planted(judged: suspicion.Judged, wrong: np.ndarray) -> float:
    """The share of the wrong ones in the first tenth."""
    first = judged.order[: len(judged.score) // 10]
    return float(np.isin(wrong, first).mean())


def test_of_classes() -> None:
    target = Target("classes", ("a", "b", "c"))
    truth = RANDOM.integers(0, 3, 400)
    answers = RANDOM.dirichlet([1, 1, 1], 400) + 2 * np.eye(3)[truth]
    answers /= answers.sum(axis=1, keepdims=True)
    wrong = np.arange(20)
    given = truth.copy()
    given[wrong] = (truth[wrong] + 1) % 3
    judged = suspicion.judge([target.names[k] for k in given], answers, target)
    assert planted(judged, wrong) == 1 and 10 <= (judged.wrong or 0) <= 25
    assert [judged.suggested[k] for k in wrong] == [target.names[k] for k in truth[wrong]]
    assert judged.given == pytest.approx(answers[np.arange(400), given])
    assert judged.other == pytest.approx(answers.max(axis=1))


def test_of_several_labels_each() -> None:
    target = Target("labels", ("a", "b", "c"))
    there = RANDOM.random((400, 3)) < 0.4
    answers = np.where(there, 0.9, 0.1) + RANDOM.uniform(-0.08, 0.08, (400, 3))
    wrong = np.arange(20)
    given = there.copy()
    given[wrong, 1] ^= True
    texts = [targets.joined(np.array(target.names)[row]) for row in given]
    judged = suspicion.judge(texts, answers, target)
    assert planted(judged, wrong) == 1 and judged.wrong is not None
    assert judged.suggested == [targets.joined(np.array(target.names)[row]) for row in there]
    assert (judged.given <= judged.other + 1e-12).all()


def test_of_values() -> None:
    target = Target("value", ("degrees",))
    truth = RANDOM.normal(0, 1, 400)
    wrong = np.arange(20)
    given = truth.copy()
    given[wrong] += 3
    answers = (truth + RANDOM.normal(0, 0.2, 400))[:, None]
    judged = suspicion.judge([repr(float(value)) for value in given], answers, target)
    assert planted(judged, wrong) >= 0.95 and judged.wrong is None and np.isnan(judged.given).all()
