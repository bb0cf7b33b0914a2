import numpy as np
import pytest

from pipeline.compression import _calibration, static_int8
from pipeline.errors import DataError

CLASSES = np.array([0, 1] * 4)


def feeds(count=8):
    return [{"terms": np.full((1, 3), k), "weights": np.full((1, 3), k, np.float32)} for k in range(count)]


def test_enough_examples_of_two_classes_are_taken():
    _calibration.check(feeds(), CLASSES)
    _calibration.check([{"ids": np.ones((4, 3), np.int64)}] * 2, CLASSES)  # examples count, not batches


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(bad):
    given = feeds()
    given[5]["weights"][0, 1] = bad
    with pytest.raises(DataError, match="batch 5: weights has NaN or infinity"):
        _calibration.check(given, CLASSES)


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_examples_are_refused(count):
    with pytest.raises(DataError, match=rf"found {count} for calibration; expected 8"):
        _calibration.check(feeds(count), CLASSES)


def test_examples_of_one_class_are_refused():
    with pytest.raises(DataError, match="all 8 examples for calibration are of one class"):
        _calibration.check(feeds(), np.ones(8, np.int64))


@pytest.mark.parametrize("truth", [np.ones((8, 1), np.float32), np.ones((8, 3), np.float32)])
def test_values_and_labels_have_no_classes(truth):
    _calibration.check(feeds(), truth)


def test_static_int8_refuses_before_it_reads_the_graph(tmp_path):
    with pytest.raises(DataError, match="found 7"):
        static_int8.compress(tmp_path / "none.onnx", tmp_path / "int8.onnx", static_int8.Config(), feeds(7))
