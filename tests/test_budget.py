import numpy as np
import pytest

from pipeline import budget
from pipeline.budget import Budget, Device
from pipeline.config import parse
from pipeline.errors import ConfigError
from pipeline.targets import Target

AB = Target("classes", ("a", "b"))


def labels(of_a, of_b):
    return np.repeat([0, 1], [of_a, of_b])


def test_with_few_examples_a_point_is_noise_and_two_are_allowed():
    assert budget.limits(Budget(), "macro_f1", labels(700, 799), AB).max_drop == 0.02
    assert budget.limits(Budget(), "macro_f1", labels(700, 800), AB).max_drop == 0.01
    assert budget.limits(Budget(max_drop=0.003), "macro_f1", labels(5, 5), AB).max_drop == 0.003


def test_only_classes_with_a_hundred_examples_are_judged_by_themselves():
    found = budget.limits(Budget(), "macro_f1", labels(99, 1500), AB).class_drops
    assert found == {"b": 0.02}
    assert budget.limits(Budget(), "macro_f1", labels(100, 1499), AB).class_drops == {"a": 0.05, "b": 0.05}
    assert budget.limits(Budget(class_drop=0.1), "macro_f1", labels(100, 99), AB).class_drops == {"a": 0.1}


def test_of_labels_those_that_are_there_count():
    truth = np.zeros((300, 2), np.float32)
    truth[:120, 1] = 1
    assert list(budget.limits(Budget(), "macro_f1", truth, Target("labels", ("x", "y"))).class_drops) == ["y"]


def test_of_a_value_the_drop_is_in_its_unit():
    target = Target("value", ("value",), 1000.0, 300.0)
    assert budget.limits(Budget(), "mae", np.zeros((10, 1)), target).max_drop == pytest.approx(6)
    assert budget.limits(Budget(), "r2", np.zeros((10, 1)), target).max_drop == 0.02
    assert budget.limits(Budget(), "r2", np.zeros((10, 1)), target).class_drops == {}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"max_drop": 2}, r"compress\.max_drop: found 2"),
        ({"speedup": 0}, r"compress\.speedup: found 0"),
        ({"bytes": 1.5}, r"compress\.bytes: found 1\.5"),
        ({"bound": "upper"}, r"compress\.bound: found 'upper'"),
        ({"max_dorp": 0.1}, r"compress\.max_dorp: unknown key.*max_drop"),
    ],
)
def test_an_impossible_budget_names_its_key(section, words):
    with pytest.raises(ConfigError, match=words):
        parse(Budget, section, "compress")


def test_a_device_has_different_batch_sizes():
    assert parse(Device, {"batch_sizes": [1, 8]}, "compress").batch_sizes == (1, 8)
    for wrong in ([], [2, 2]):
        with pytest.raises(ConfigError, match=r"compress\.batch_sizes"):
            parse(Device, {"batch_sizes": wrong}, "compress")
