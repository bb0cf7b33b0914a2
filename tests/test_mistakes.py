import numpy as np
import pandas as pd

from pipeline import mistakes, targets
from pipeline.targets import Target

VALUE = Target("value", ("value",), 10.0, 2.0)
LABELS = Target("labels", ("a", "b"))


def predictions(labels, answers, target):
    table = pd.DataFrame({"id": list("wxyz"), "row": range(4), "label": labels})
    return table.assign(**targets.columns("net", answers, target))


def test_of_values_the_largest_error_comes_first_and_the_smallest_of_the_right_ones():
    answers = np.array([[1.5], [9.0], [3.9], [4.0]], np.float32)
    found = mistakes.told(predictions(["1.0", "2.0", "3.0", "4.0"], answers, VALUE), "net", VALUE)
    assert found["right"].tolist() == [True, False, True, True]
    assert found["note"].tolist() == ["+0.5", "+7", "+0.9", "+0"]
    assert found.sort_values("sure", ascending=False)["id"].tolist() == ["x", "z", "w", "y"]


def test_of_labels_an_answer_is_as_sure_as_its_least_sure_label():
    answers = np.array([[0.9, 0.6], [0.2, 0.1], [0.5, 0.0], [0.99, 0.01]], np.float32)
    found = mistakes.told(predictions(["a|b", "a", "a", "a"], answers, LABELS), "net", LABELS)
    assert found["prediction"].tolist() == ["a|b", "", "a", "a"]
    assert found["right"].tolist() == [True, False, True, True]
    np.testing.assert_allclose(found["sure"], [0.6, 0.8, 0.5, 0.99], atol=1e-6)


def test_a_label_without_a_figure_has_a_dash():
    figures = {"f1/a": {"value": 0.5}, "precision/a": {"value": 1.0}}
    report = {"classes": ["a"], "chosen": "net", "candidates": {"net": {"metrics": {"trained": figures}}}}
    (row,) = mistakes.of_each(report)
    assert row == {"name": "a", "cells": ["1.000", "–", "0.500", "–", "–"]}


def test_pictures_are_drawn_and_equal_figures_give_equal_bytes():
    table = pd.DataFrame({"actual": ["1.0", "2.0"], "predicted": ["1.1", "1.8"]})
    for draw in (mistakes.scatter, mistakes.errors):
        assert draw(table).startswith("<svg") and draw(table) == draw(table)


def test_what_is_asked_in_words():
    assert mistakes.asked(VALUE) == "a value, 10 ± 2 in train"
    assert mistakes.asked(LABELS) == "2 labels"
    assert mistakes.asked(Target("classes", ("a", "b", "c"))) == "3 classes"
