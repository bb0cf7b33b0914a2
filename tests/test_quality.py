import numpy as np
import pytest

from pipeline import quality
from pipeline.errors import ConfigError
from pipeline.targets import Target

CLASSES = Target("classes", ("cat", "dog", "wolf"))


def test_an_unknown_class_in_a_group_is_named_with_the_nearest():
    wanted = quality.Config(binary={"wild": ("wolff",)})
    with pytest.raises(ConfigError, match=r"evaluate\.binary\.wild.*'wolff'.*cat, dog, wolf.*did you mean 'wolf'"):
        quality.check(wanted, CLASSES, "params.yaml: tasks.pets.evaluate")


def test_groups_become_accuracies():
    wanted = quality.Config(binary={"wild": ("wolf",)}, resamples=100)
    quality.check(wanted, CLASSES, "here")
    probabilities = np.array([[0.6, 0.4, 0.0], [0.0, 0.3, 0.7], [0.1, 0.2, 0.7]])
    labels = np.array([1, 2, 0])
    assert quality.figures(wanted, labels, probabilities, CLASSES)["wild_accuracy"] == pytest.approx(2 / 3)
    found = quality.intervals(wanted, labels, probabilities, CLASSES)["wild_accuracy"]
    assert found.low <= found.value <= found.high


def test_a_gain_is_positive_for_the_better():
    labels = np.array([0, 1, 2] * 20)
    right = np.eye(3)[labels]
    wrong = np.eye(3)[(labels + (np.arange(60) % 2)) % 3]
    gain = quality.gain(quality.Config("macro_f1", resamples=200), labels, wrong, right, CLASSES)
    assert gain.low > 0
