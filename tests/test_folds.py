import numpy as np
import pytest

from pipeline import folds, sides

PLACES = np.array([sides.fraction(0, f"group {k // 3}") for k in range(600)])
PAIRS = np.array([[0, 300], [1, 302], [299, 599], [5, 420]])
NOBODY = np.full(600, -1)
NEAR = sides.Near(np.arange(600), PAIRS, NOBODY)
NONE = sides.Near(np.arange(600), np.empty((0, 2), np.int64), NOBODY)


def test_each_example_is_tested_once_and_groups_stay_together() -> None:
    found = np.stack([folds.fold(PLACES, NONE, k, 5) for k in range(5)])
    assert ((found == 2).sum(axis=0) == 1).all() and ((found == 1).sum(axis=0) == 1).all()
    assert (np.ptp(found.reshape(5, 200, 3), axis=2) == 0).all()
    assert np.bincount(found[0]).min() > 60


def test_no_near_duplicate_is_on_two_sides_and_no_test_example_is_lost() -> None:
    for number in range(5):
        found = folds.fold(PLACES, NEAR, number, 5)
        for a, b in PAIRS:
            assert found[a] == found[b] or folds.DROPPED in (found[a], found[b])
        assert np.array_equal(found == 2, folds.parts(PLACES, 5) == number)


def test_new_examples_move_nobody() -> None:
    more = np.concatenate([PLACES, [0.1, 0.5, 0.9]])
    grown = sides.Near(np.arange(603), PAIRS, np.full(603, -1))
    assert np.array_equal(folds.fold(PLACES, NEAR, 1, 4), folds.fold(more, grown, 1, 4)[:600])


def test_impossible_folds_are_refused() -> None:
    for number, count in ((5, 5), (-1, 5), (0, 2)):
        with pytest.raises(ValueError, match="at least 3 folds"):
            folds.fold(PLACES, NEAR, number, count)
