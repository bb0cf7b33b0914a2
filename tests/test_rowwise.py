"""A graph that answers rows alone: each without its padding, whatever stands beside it."""

import numpy as np
import pytest

from pipeline import rowwise


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        ([[5, 3]], [[5, 3]]),
        ([[5, 3, 0, 0]], [[5, 3]]),
        ([[5, 3, 0], [7, 0, 0], [1, 2, 4]], [[5, 3], [7], [1, 2, 4]]),
        ([[0, 0]], [[0]]),  # a text without a token
    ],
)
def test_each_row_is_asked_by_itself_without_its_padding(ids, asked):
    found = []

    def run(feed):
        found.append(feed["ids"][0].tolist())
        return feed["ids"].sum(axis=1, keepdims=True)

    answers = rowwise.answering(run, alone=True)({"ids": np.array(ids)})
    assert found == asked
    assert answers.tolist() == [[sum(row)] for row in ids]


def test_rows_of_several_inputs_go_together():
    feed = {"terms": np.arange(6).reshape(3, 2), "weights": np.ones((3, 2))}
    answers = rowwise.answering(lambda one: (one["terms"] * one["weights"]).sum(axis=1, keepdims=True), alone=True)
    assert answers(feed).tolist() == [[1.0], [5.0], [9.0]]


def test_what_answers_a_batch_is_asked_once():
    asked = []
    answers = rowwise.answering(lambda feed: asked.append(len(feed["ids"])) or feed["ids"], alone=False)
    assert len(answers({"ids": np.array([[1, 0], [2, 3]])})) == 2 and asked == [2]
