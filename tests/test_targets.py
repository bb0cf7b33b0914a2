import numpy as np
import pandas as pd
import pytest

from pipeline import targets
from pipeline.targets import Target

CLASSES, LABELS = Target("classes", ("a", "b")), Target("labels", ("a", "b", "c"))
VALUE = Target("value", ("value",), 3.0, 2.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" -0.5 ", -0.5), ("1e3", 1000.0), ("0.30000000000000004", 0.30000000000000004), (".5", 0.5)],
)
def test_a_number_is_read_as_it_is_written(text, value):
    assert targets.number(text) == value


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1e999", "1,5", "1_000", "", "eins", "٣", "0x1f", "1.2.3", "5%"]
)
def test_what_is_no_finite_number_is_none(text):
    assert targets.number(text) is None


def test_equal_values_are_written_alike():
    assert {repr(targets.number(text)) for text in ("0", "0.0", "-0", "0e5")} == {"0.0"}


@pytest.mark.parametrize("target", [CLASSES, LABELS, VALUE])
def test_a_record_gives_the_target_back(target):
    assert targets.recorded(targets.record(target)) == target


def test_the_record_of_classes_is_as_it_always_was():
    assert targets.record(CLASSES) == {"classes": ["a", "b"]}


def test_the_column_label_becomes_numbers():
    assert targets.numbers(["b", "a"], CLASSES).tolist() == [[0, 1], [1, 0]]
    assert targets.numbers(["", "a|c", "b"], LABELS).tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert targets.numbers(["0.5", "3"], VALUE).tolist() == [[0.5], [3]]


def test_labels_are_written_in_one_order_and_read_back():
    assert targets.joined(["b", "a", "b"]) == "a|b"
    assert targets.parted(targets.joined([])) == []


@pytest.mark.parametrize("target", [CLASSES, LABELS, VALUE])
def test_answers_go_through_a_table(target):
    answers = np.random.default_rng(0).random((6, target.outputs)).astype(np.float32)
    table = pd.DataFrame(targets.columns("net", answers, target))
    found = targets.answers(table, "net", target)
    if target.kind == "classes":
        assert found == [(target.names[k], pytest.approx(row.max())) for k, row in zip(answers.argmax(1), answers)]
    else:
        np.testing.assert_allclose(targets.matrix(found, target), answers)
        written = targets.written(answers, target)
        assert [text for text, _ in found] == (["" for _ in written] if target.kind == "value" else written)


def test_a_label_that_an_older_model_does_not_know_has_no_probability():
    assert targets.matrix([("a", {"a": 0.9, "z": 0.8})], LABELS).tolist() == [[0.9, 0, 0]]


def test_large_outputs_become_probabilities_without_a_warning():
    assert targets.read(np.array([[1e4, -1e4, 0.0]]), "labels").tolist() == [[1, 0, 0.5]]


@pytest.mark.filterwarnings("error")
def test_outputs_that_are_no_numbers_are_read_without_a_warning():
    assert np.isnan(targets.read(np.array([[np.inf, 0.0], [np.nan, 1.0]], np.float32), "classes")[:, 0]).all()
