import numpy as np
import pandas as pd
import pytest

from pipeline.validation import _outliers
from pipeline.validation._outliers import Measure

LIGHT = Measure("light", log=False)


def flagged(light: np.ndarray, labels: list[str] | None = None) -> list[int]:
    table = pd.DataFrame({"light": light, "label": labels or ["x"] * len(light)})
    return np.flatnonzero(_outliers.found(table, LIGHT, 5.0)[0]).tolist()


def test_far_values_are_found_and_do_not_hide_one_another() -> None:
    light = np.random.default_rng(0).normal(100, 5, 200)
    light[:20] = 250  # a tenth of all, which would stretch a standard deviation
    assert flagged(light) == list(range(20))
    assert flagged(light[20:]) == []


def test_where_most_values_are_equal_the_rare_others_are_outliers() -> None:
    assert flagged(np.array([300.0] * 200 + [299.0])) == [200]
    assert flagged(np.array([300.0] * 120 + [600.0] * 80)) == []
    assert flagged(np.array([300.0] * 200)) == []


def test_a_small_class_that_differs_as_a_whole_is_none() -> None:
    random = np.random.default_rng(0)
    light = np.concatenate([random.normal(100, 2, 500), random.normal(30, 2, 40), [200.0]])
    labels = ["day"] * 500 + ["night"] * 40 + ["night"]
    assert flagged(light, labels) == [540]
    assert flagged(light, ["day"] * 541) == list(range(500, 541))


def test_few_rows_and_rows_without_a_value_are_none() -> None:
    assert flagged(np.array([1.0] * 20 + [900.0])) == []
    light = np.array([1.0, np.nan] * 40 + [900.0])
    assert flagged(light) == [80]


def test_sizes_are_compared_by_their_logarithms() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(6, 0.7, 2000))
    table = pd.DataFrame({"width": sizes, "label": "x"})
    assert not _outliers.found(table, Measure("width"), 5.0)[0].any()
    assert _outliers.found(table, Measure("width", log=False), 5.0)[0].any()


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outliers.lihgt: unknown measure \(did you mean 'light'\?\)"):
        _outliers.check({"lihgt": "flag"}, [LIGHT])
