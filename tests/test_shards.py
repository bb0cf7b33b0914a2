"""Which examples share a shard: every one in just one, and no old shard touched by what comes later."""

import numpy as np

from pipeline import shards
from pipeline.artifacts import SPLITS


def planned(sides: np.ndarray, generations: list[int], row_bytes: int = 1000) -> dict[tuple[str, str], list[int]]:
    found = shards.plan(sides, np.arange(len(sides)), np.array(generations), 64, row_bytes)
    return {(shard.split, shard.name): shard.rows.tolist() for shard in found}


def some_sides(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1, 0, 1, 2], count, p=[0.05, 0.75, 0.1, 0.1]).astype(np.int8)


def test_every_kept_example_is_in_one_shard_of_its_split() -> None:
    sides = some_sides(10_000)
    found = planned(sides, [0])
    for number, split in enumerate(SPLITS):
        rows = [row for (name, _), of in found.items() if name == split for row in of]
        assert rows == np.flatnonzero(sides == number).tolist()


def test_a_generation_leaves_the_shards_before_it_alone() -> None:
    sides = some_sides(20_200)
    before, after = planned(sides[:20_000], [0]), planned(sides, [0, 20_000])
    assert before.items() <= after.items()
    assert sum(len(rows) for key, rows in after.items() if key not in before) == (sides[20_000:] >= 0).sum()


def test_a_year_of_nights_leaves_few_shards_and_no_night_rewrites_much() -> None:
    starts = [0, *(20_000 + 20 * night for night in range(365))]
    sides, before, most = some_sides(20_000 + 20 * 365), planned(some_sides(20_000 + 20 * 365)[:20_000], [0]), 0
    first = len(before)
    for night in range(1, 366):
        after = planned(sides[: 20_000 + 20 * night], starts[: night + 1])
        most = max(most, sum(len(rows) for key, rows in after.items() if before.get(key) != rows))
        before = after
    assert most < 0.02 * 20_000
    assert len(before) < first + 100


def test_a_dropped_example_changes_its_shard_alone() -> None:
    sides = some_sides(20_000)
    before = planned(sides, [0])
    sides[np.flatnonzero(sides == 0)[500]] = -1
    after = planned(sides, [0])
    assert before.keys() == after.keys() and sum(before[key] != after[key] for key in before) == 1


def test_shards_grow_with_the_data_but_not_beyond_their_bytes() -> None:
    found = planned(np.zeros(300_000, np.int8), [0], row_bytes=shards.SHARD_BYTES // 1000)
    lengths = [len(rows) for rows in found.values()]
    assert lengths[0] == 64 and max(lengths) == 1000 and len(lengths) < 500


def test_rows_that_came_in_another_order_than_they_lie_are_planned_by_arrival() -> None:
    found = list(shards.plan(np.zeros(4, np.int8), np.array([2, 0, 3, 1]), np.array([0]), 64, 1))
    assert [shard.rows.tolist() for shard in found] == [[1, 3, 0, 2]]


def test_nothing_gives_nothing() -> None:
    assert list(shards.plan(np.empty(0, np.int8), np.empty(0, np.int64), np.empty(0, np.int64), 64, 1)) == []
