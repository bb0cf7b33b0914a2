from collections import Counter

import numpy as np
import pytest

from pipeline import split

SHARES = (0.8, 0.1, 0.1)


def test_sides_have_about_their_shares() -> None:
    groups = [f"example {number}" for number in range(20_000)]
    counts = Counter(split.sides(groups, [None] * len(groups), 0, SHARES))
    assert counts["train"] == pytest.approx(16_000, rel=0.02)
    assert counts["validation"] == pytest.approx(2_000, rel=0.1)
    assert counts["test"] == pytest.approx(2_000, rel=0.1)


def test_nobody_changes_side_when_a_fifth_is_added() -> None:
    groups = [f"example {number}" for number in range(1200)]
    before = split.sides(groups[200:], [None] * 1000, 0, SHARES)
    assert split.sides(groups, [None] * 1200, 0, SHARES)[200:] == before


def test_the_rule_is_the_documented_one_on_every_machine() -> None:
    # Values that must never change, or every data set would be split anew.
    assert split.fraction(0, "a") == 0.7417194198289923
    assert split.fraction(7, "组") == 0.5251257970152537


def test_one_group_is_on_one_side() -> None:
    groups = [f"patient {number % 50}" for number in range(1000)]
    found = split.sides(groups, [None] * 1000, 0, SHARES)
    assert all(len(set(found[start::50])) == 1 for start in range(50))


def test_the_users_own_split_wins() -> None:
    given = ["test", "train", "validation"] * 40
    assert split.sides([f"g{n}" for n in range(120)], given, 0, SHARES) == given


def test_a_part_that_the_users_split_lacks_is_drawn_from_train() -> None:
    given = ["test"] * 500 + ["train"] * 4500
    found = split.sides([f"g{n}" for n in range(5000)], given, 0, SHARES)
    assert found[:500] == ["test"] * 500
    assert Counter(found[500:])["validation"] == pytest.approx(500, rel=0.15)
    assert set(found[500:]) == {"train", "validation"}


def test_leaks_drop_the_lesser_side_and_name_the_greater() -> None:
    sides = ["train", "validation", "test", "train", "train"]
    pairs = np.array([[0, 1], [0, 2], [1, 2], [3, 4]])
    assert split.leaks(sides, pairs) == [split.Leak(0, 2), split.Leak(1, 2)]


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.3, 0.1), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_impossible_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum 1"):
        split.check(shares)
