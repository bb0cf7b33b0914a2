"""Which examples lie together in one shard: by the order of their arrival, so that new data leave old shards alone.

N examples. A shard is named by its first place in that order, whether or not the example there is still in use.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline import parts
from pipeline.artifacts import SPLITS

SHARD_BYTES = 64 << 20
HELD_OUT = 8
"""Places of a shard of validation or test for one of train, since most of them are train's."""
JOINED = 64
"""New generations share shards until together they are this part of all examples: a year of nights leaves no
thousands of small files, and a night rewrites little that was there."""


@dataclass(frozen=True)
class Shard:
    split: str
    start: int
    rows: np.ndarray  # int64, which examples, in the order of arrival

    @property
    def name(self) -> str:
        return f"{self.start:010}"


def plan(
    sides: np.ndarray, places: np.ndarray, generations: np.ndarray, smallest: int, row_bytes: int
) -> Iterator[Shard]:
    """The shards of all splits.

    sides: the number of each example's split, int8 [N], -1 where it is in none.
    places: in the order of arrival, int64 [N]; generations: where each of them starts.
    smallest: places of the first shards of train; row_bytes: what an example takes, so that a shard has
    `SHARD_BYTES` at most.
    """
    order = np.lexsort((np.arange(len(places)), places))
    end = int(places.max(initial=-1)) + 1
    borders = _joined(generations.tolist(), end)
    for number, split in enumerate(SPLITS):
        starts = _starts(borders, end, 1 if number == 0 else HELD_OUT, smallest, SHARD_BYTES // max(row_bytes, 1))
        mine = order[sides[order] == number]
        of = np.searchsorted(starts, places[mine], side="right") - 1
        changes = np.flatnonzero(np.diff(of)) + 1
        for rows in np.split(mine, changes) if len(mine) else []:
            shard = int(starts[np.searchsorted(starts, places[rows[0]], side="right") - 1])
            yield Shard(split, shard, rows)


def _joined(generations: list[int], end: int) -> list[int]:
    """Where generations start once small ones are joined: what earlier ones gave does not depend on later ones."""
    found: list[int] = []
    for place, last in itertools.zip_longest(generations, generations[1:], fillvalue=end):
        if not found or (last - found[-1]) * JOINED > last:
            found.append(place)
    return found


def _starts(generations: list[int], end: int, stretch: int, smallest: int, largest: int) -> np.ndarray:
    """Where shards start, int64: at every generation, and within it after as many places as its size allows."""
    found = []
    for place, last in itertools.zip_longest(generations, generations[1:], fillvalue=end):
        while place < last:
            found.append(place)
            place += parts.size(place, smallest, largest) * stretch
    return np.array(found or [0], np.int64)
