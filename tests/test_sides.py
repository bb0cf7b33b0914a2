from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline import sides

SHARES = (0.8, 0.1, 0.1)
TRAIN, VALIDATION, TEST = range(3)
UNKNOWN = np.full((1, 2), np.nan)


def examples(
    groups: Sequence[str],
    labels: Sequence[int] | None = None,
    given: Sequence[int] | None = None,
    grouped: bool = False,
    pairs: Sequence[tuple[int, int]] = (),
) -> sides.Examples:
    return sides.Examples(
        np.array([sides.fraction(0, group) for group in groups]),
        np.zeros(len(groups), np.int64) if labels is None else np.array(labels),
        np.full(len(groups), -1) if given is None else np.array(given),
        np.full(len(groups), grouped),
        np.array(pairs, np.int64).reshape(-1, 2),
    )


def placed(found: sides.Examples, edges: np.ndarray | None = None) -> list[int]:
    classes = int(found.labels.max()) + 1
    return sides.of(found, SHARES, sides.plain(SHARES, classes) if edges is None else edges).tolist()


def names(count: int, start: int = 0) -> list[str]:
    return [f"example {number}" for number in range(start, start + count)]


def test_sides_have_about_their_shares() -> None:
    counts = Counter(placed(examples(names(20_000))))
    assert counts[TRAIN] == pytest.approx(16_000, rel=0.02)
    assert counts[VALIDATION] == pytest.approx(2_000, rel=0.1)
    assert counts[TEST] == pytest.approx(2_000, rel=0.1)


def test_the_rule_is_the_documented_one_on_every_machine() -> None:
    # Values that must never change, or every data set would be split anew.
    assert sides.fraction(0, "a") == 0.7417194198289923
    assert sides.fraction(7, "组") == 0.5251257970152537


def test_one_group_is_on_one_side_whatever_its_classes() -> None:
    groups = [f"patient {number % 50}" for number in range(1000)]
    mixed = examples(groups, [k % 3 for k in range(1000)], grouped=True)
    found = placed(mixed, np.array([[0.1, 0.2], [0.5, 0.6], [0.9, 0.95]]))
    assert all(len(set(found[start::50])) == 1 for start in range(50))
    assert found == placed(mixed)


def test_the_users_own_split_wins() -> None:
    given = [TEST, TRAIN, VALIDATION] * 40
    assert placed(examples(names(120), given=given)) == given


def test_a_part_that_the_users_split_lacks_is_drawn_from_train() -> None:
    found = placed(examples(names(5000), given=[TEST] * 500 + [TRAIN] * 4500))
    assert found[:500] == [TEST] * 500
    assert Counter(found[500:])[VALIDATION] == pytest.approx(500, rel=0.15)
    assert set(found[500:]) == {TRAIN, VALIDATION}


def test_leaks_drop_the_lesser_side_and_name_the_greater() -> None:
    found = np.array([TRAIN, VALIDATION, TEST, TRAIN, TRAIN])
    pairs = np.array([[0, 1], [0, 2], [1, 2], [3, 4]])
    assert sides.leaks(found, pairs) == [sides.Leak(0, 2), sides.Leak(1, 2)]


def test_drift_is_the_largest_difference_of_a_class_share() -> None:
    labels = np.array([0, 1] * 10)
    found = np.array([TRAIN] * 12 + [VALIDATION] * 4 + [TEST] * 4)
    assert sides.drift(labels, found, 2) == 0
    labels[-1] = 0  # test has 3 of 4 where 11 of 20 are
    assert sides.drift(labels, found, 2) == pytest.approx(0.75 - 0.55)
    assert sides.drift(labels, np.zeros(20, np.int64), 2) == np.inf


@pytest.mark.parametrize("seed", range(10))
def test_a_small_set_full_of_near_duplicates_is_balanced(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(4, 1000, p=[0.4, 0.3, 0.2, 0.1])
    twins = np.flatnonzero(labels == 0)[:200].reshape(-1, 2).tolist()  # only one class has them
    found = examples(names(1000, 1000 * seed), labels.tolist(), pairs=twins)
    edges = sides.balance(found, SHARES, np.full((4, 2), np.nan))
    where = sides.of(found, SHARES, edges)
    kept = np.setdiff1d(np.arange(1000), [leak.dropped for leak in sides.leaks(where, found.pairs)])
    assert sides.drift(labels[kept], where[kept], 4) <= sides.AIM
    assert np.bincount(where[kept])[TEST] == pytest.approx(100, abs=30)


def test_a_large_set_keeps_the_edges_of_the_shares() -> None:
    found = examples(names(40_000), [k % 2 for k in range(40_000)])
    assert sides.balance(found, SHARES, np.full((2, 2), np.nan)).tolist() == sides.plain(SHARES, 2).tolist()


def test_a_class_of_three_has_one_in_each_split() -> None:
    for start in range(0, 300, 3):
        found = examples(names(3, start) + names(300, 1000), [1] * 3 + [0] * 300)
        edges = sides.balance(found, SHARES, np.full((2, 2), np.nan))
        assert sorted(placed(found, edges)[:3]) == [TRAIN, VALIDATION, TEST]


def test_nobody_moves_when_data_and_a_class_are_added() -> None:
    labels = [k % 2 for k in range(400)]
    first = examples(names(400), labels)
    edges = sides.balance(first, SHARES, np.full((2, 2), np.nan))
    known = np.concatenate([edges, UNKNOWN])
    grown = examples(names(600), [*labels, *[k % 3 for k in range(200)]])
    after = sides.balance(grown, SHARES, known)
    assert after[:2].tolist() == edges.tolist() and not np.isnan(after).any()
    assert placed(grown, after)[:400] == placed(first, edges)


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.3, 0.1), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_impossible_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum 1"):
        sides.check(shares)
