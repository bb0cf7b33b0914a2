from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from pipeline import sides
from pipeline.sides import SHARES, Examples, Record
from pipeline.split import AIM, balance

TRAIN, VALIDATION, TEST = range(3)


def near(count: int, pairs: Sequence[tuple[int, int]], groups: Sequence[int] | None = None) -> sides.Near:
    numbers = np.full(count, -1) if groups is None else np.array(groups)
    return sides.Near(np.arange(count), np.array(pairs, np.int64).reshape(-1, 2), numbers)


def examples(
    groups: Sequence[str],
    labels: Sequence[int] | None = None,
    grouped: bool = False,
    pairs: Sequence[tuple[int, int]] = (),
) -> Examples:
    """Examples that nobody split."""
    count = len(groups)
    return Examples(
        places=np.array([sides.fraction(0, group) for group in groups]),
        labels=np.zeros(count, np.int64) if labels is None else np.array(labels),
        given=np.full(count, -1),
        free=np.ones(count, bool),
        near=near(count, pairs, pd.factorize(np.array(groups))[0] if grouped else None),
        shares=np.array(SHARES),
        keys=np.arange(count, dtype=np.uint64),
    )


def unknown(classes: int) -> np.ndarray:
    return np.full((classes, 2), np.nan)


def plain(found: Examples) -> list[int]:
    return sides.of(found, np.tile(found.begin, (int(found.labels.max()) + 1, 1))).tolist()


def names(count: int, start: int = 0) -> list[str]:
    return [f"example {number}" for number in range(start, start + count)]


def final_drift(found: Examples, edges: np.ndarray) -> float:
    where = sides.of(found, edges)
    left = sides.kept(where, found.near)
    return sides.drift(sides.counts(found.labels[left], where[left], len(edges)))


def test_sides_have_about_their_shares() -> None:
    counts = Counter(plain(examples(names(20_000))))
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
    found = sides.of(mixed, np.array([[0.1, 0.2], [0.5, 0.6], [0.9, 0.95]])).tolist()
    assert all(len(set(found[start::50])) == 1 for start in range(50))
    assert found == plain(mixed)


def test_a_group_goes_with_those_of_it_that_the_user_put_somewhere_and_loses_those_on_lesser_sides() -> None:
    accepted = table(["test", None, None, "train", None, "train", "validation", None] + [None] * 200)
    accepted["group"] = ["a", "a", "a", "b", "b", "c", "c", "c"] + [None] * 200
    found = sides.examples([accepted], NOBODY, ["a"], Record(0, SHARES))
    assert plain(found)[:8] == [TEST, TEST, TEST, TRAIN, TRAIN, TRAIN, VALIDATION, VALIDATION]
    assert set(plain(found)[8:]) == {TRAIN, VALIDATION, TEST}
    assert sides.leaks(np.array(plain(found)), found.near) == [sides.Leak(5, 6)]


def table(given: Sequence[str | None]) -> pd.DataFrame:
    rows = [{"id": str(k), "label": "a", "content": f"{k:064x}", "group": None} for k in range(len(given))]
    return pd.DataFrame(rows).assign(split=pd.Series(given, dtype="str"))


NOBODY = pd.DataFrame([], columns=["a", "b"], dtype="str")


@pytest.mark.parametrize(
    ("given", "lacking", "drawn"),
    [
        ({}, (), {TRAIN, VALIDATION, TEST}),
        ({"train": 4000, "validation": 500, "test": 500}, (), set()),
        ({"train": 4500, "test": 500}, ("validation",), {TRAIN, VALIDATION}),
        ({"train": 4500, "validation": 500}, ("test",), {TRAIN, TEST}),
        ({"train": 5000}, ("validation", "test"), {TRAIN, VALIDATION, TEST}),
        ({"test": 5000}, ("validation",), set()),
        ({"validation": 2500, "test": 2500}, (), set()),
    ],
)
def test_what_the_users_split_lacks_is_drawn_from_train(
    given: dict[str, int], lacking: tuple[str, ...], drawn: set[int]
) -> None:
    own = [name for name, count in given.items() for _ in range(count)] or [None] * 5000
    accepted = table(own)
    assert sides.lacking(accepted["split"]) == lacking
    found = sides.examples([accepted], NOBODY, ["a"], Record(0, SHARES, lacking))
    where = np.array(plain(found))
    assert set(where[found.free]) == drawn
    assert (where[~found.free] == found.given[~found.free]).all()
    for side in drawn - {TRAIN}:
        share = SHARES[side] / sum(SHARES[k] for k in drawn)
        assert (where[found.free] == side).mean() == pytest.approx(share, rel=0.15)


def test_what_is_drawn_stays_when_the_user_gives_it_later() -> None:
    first = sides.examples([table(["train"] * 400 + ["test"] * 100)], NOBODY, ["a"], Record(0, SHARES, ("validation",)))
    grown = table(["train"] * 400 + ["test"] * 100 + ["validation"] * 50)
    later = sides.examples([grown], NOBODY, ["a"], Record(0, SHARES, ("validation",)))
    assert plain(later)[:500] == plain(first)


def test_leaks_drop_the_lesser_side_and_name_the_greater() -> None:
    found = np.array([TRAIN, VALIDATION, TEST, TRAIN, TRAIN])
    pairs = near(5, [(0, 1), (0, 2), (1, 2), (3, 4)])
    assert sides.leaks(found, pairs) == [sides.Leak(0, 2), sides.Leak(1, 2)]
    assert sides.kept(found, pairs).tolist() == [False, False, True, True, True]


def test_equal_contents_stay_on_their_greatest_side_and_so_do_those_near_any_of_them() -> None:
    found = np.array([TRAIN, TEST, TRAIN, TEST, VALIDATION, TRAIN, TRAIN])
    # 0, 1 and 3 are equal; 2 and 5 are near them though their own twin is in train; 4 and 6 are alone
    of = sides.Near(np.array([0, 0, 1, 0, 2, 1, 3]), np.array([[0, 1]]), np.full(7, -1))
    assert sides.leaks(found, of) == [sides.Leak(0, 1), sides.Leak(2, 1), sides.Leak(5, 1)]
    assert sides.kept(found, of).tolist() == [False, True, False, True, True, False, True]


@pytest.mark.parametrize("seed", range(20))
def test_leaks_are_those_of_all_pairs_compared_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    same, found, groups = random.integers(0, 30, 60), random.integers(0, 3, 60), random.integers(-1, 40, 60)
    linked = random.integers(0, 30, (15, 2))
    links = {(a, b) for a, b in linked.tolist()} | {(b, a) for a, b in linked.tolist()} | {(k, k) for k in range(30)}
    wanted = {
        row: {
            other
            for other in range(60)
            if found[other] > found[row]
            and ((same[row], same[other]) in links or (groups[row] == groups[other] and groups[row] >= 0))
        }
        for row in range(60)
    }
    of = sides.Near(same, linked, groups)
    leaks = sides.leaks(found, of)
    assert [leak.dropped for leak in leaks] == [row for row in range(60) if wanted[row]]
    assert np.array_equal(sides.kept(found, of), [not wanted[row] for row in range(60)])
    for leak in leaks:
        assert leak.near in wanted[leak.dropped]
        assert found[leak.near] == max(found[list(wanted[leak.dropped])])


def test_drift_is_the_largest_difference_of_a_class_share() -> None:
    assert sides.drift(np.array([[6, 2, 2], [6, 2, 2]])) == 0
    assert sides.drift(np.array([[6, 2, 3], [6, 2, 1]])) == pytest.approx(0.75 - 0.55)
    assert sides.drift(np.array([[6, 2, 4], [6, 2, 0]])) > 1


@pytest.mark.parametrize("seed", range(10))
def test_a_small_set_full_of_near_duplicates_is_balanced(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(4, 1000, p=[0.4, 0.3, 0.2, 0.1])
    twins = np.flatnonzero(labels == 0)[:200].reshape(-1, 2).tolist()  # only one class has them
    found = examples(names(1000, 1000 * seed), labels.tolist(), pairs=twins)
    edges = balance(found, unknown(4))
    assert final_drift(found, edges) <= AIM
    assert sides.counts(labels, sides.of(found, edges), 4).sum(axis=0)[TEST] == pytest.approx(100, abs=30)


@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_examples_of_many_classes_are_within_three_points(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = np.maximum(random.dirichlet(np.full(6, 2.0)), 0.03)
    labels = random.choice(6, 200, p=shares / shares.sum())
    found = examples(names(200, 200 * seed), labels.tolist())
    assert final_drift(found, balance(found, unknown(6))) <= sides.DRIFT


def test_what_the_users_split_lacks_is_balanced_too() -> None:
    accepted = table(["train"] * 300 + ["test"] * 60)
    accepted["label"] = ["a" if k % 10 else "b" for k in range(360)]
    for seed in range(10):
        found = sides.examples([accepted], NOBODY, ["a", "b"], Record(seed, SHARES, ("validation",)))
        where = sides.of(found, balance(found, unknown(2)))
        drawn = sides.counts(found.labels[found.free], where[found.free], 2)[:, :2]
        assert sides.drift(drawn) <= sides.DRIFT


def test_a_large_set_keeps_the_edges_of_the_shares() -> None:
    found = examples(names(40_000), [k % 2 for k in range(40_000)])
    assert balance(found, unknown(2)).tolist() == [found.begin.tolist()] * 2


def test_a_class_of_three_has_one_in_each_split() -> None:
    for start in range(0, 300, 3):
        found = examples(names(3, start) + names(300, 1000), [1] * 3 + [0] * 300)
        edges = balance(found, unknown(2))
        assert sorted(sides.of(found, edges)[:3].tolist()) == [TRAIN, VALIDATION, TEST]


def test_a_class_that_cannot_be_split_leaves_the_others_in_balance() -> None:
    found = examples(names(152), [k % 3 // 2 for k in range(150)] + [2, 2])
    where = sides.of(found, balance(found, unknown(3)))[:150]
    assert sides.drift(sides.counts(found.labels[:150], where, 2)) <= sides.DRIFT


def test_nobody_moves_when_data_and_a_class_are_added() -> None:
    labels = [k % 2 for k in range(400)]
    first = examples(names(400), labels)
    edges = balance(first, unknown(2))
    grown = examples(names(600), [*labels, *[k % 3 for k in range(200)]])
    after = balance(grown, np.concatenate([edges, unknown(1)]))
    assert after[:2].tolist() == edges.tolist() and not np.isnan(after).any()
    assert sides.of(grown, after)[:400].tolist() == sides.of(first, edges).tolist()


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.3, 0.1), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_impossible_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum 1"):
        sides.check(shares)
