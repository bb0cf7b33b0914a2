"""Sums by key of more keys than memory should hold: what does not fit lies sorted in files until the end."""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from operator import itemgetter
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

STRINGS = 500_000
"""Strings held in memory, about 75 MB."""
KEYS = 1 << 21
"""Integers held in memory, 16 bytes each and some 50 while they are sorted."""


class Strings:
    """Sums by string. `folder` is on a disk, and its owner's to delete."""

    def __init__(self, folder: Path, held: int = STRINGS) -> None:
        self._folder, self._held = Path(mkdtemp(dir=folder)), held
        self._runs: list[Path] = []
        self._clear()

    def _clear(self) -> None:
        self._places: defaultdict[str, int] = defaultdict(count().__next__)
        self._sums = np.zeros(1024, np.int64)

    def add(self, strings: Sequence[str], values: np.ndarray) -> None:
        """Each string once; values int64 of the same length."""
        places = np.fromiter(map(self._places.__getitem__, strings), np.int64, len(strings))
        if len(self._places) > len(self._sums):
            self._sums = np.concatenate([self._sums, np.zeros(len(self._places), np.int64)])
        self._sums[places] += values
        if len(self._places) > self._held:
            self._spill()

    def _spill(self) -> None:
        path = self._folder / f"{len(self._runs)}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for pair in self._sorted(0):
                file.write(json.dumps(pair, ensure_ascii=False) + "\n")
        self._runs.append(path)
        self._clear()

    def _sorted(self, least: int) -> list[tuple[str, int]]:
        pairs = zip(self._places, self._sums.tolist())  # numbered in the order in which they stand
        return sorted(pair for pair in pairs if pair[1] >= least)

    def items(self, least: int = 0) -> Iterator[tuple[str, int]]:
        """Every string whose sum is at least so much, and its sum, in the order of the strings."""
        if not self._runs:
            yield from self._sorted(least)
            return
        merged = heapq.merge(*map(_lines, self._runs), self._sorted(0), key=itemgetter(0))
        for string, group in groupby(merged, key=itemgetter(0)):
            total = sum(value for _, value in group)
            if total >= least:
                yield string, total


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            string, value = json.loads(line)
            yield string, value


class Keys:
    """Sums by integer. `folder` is on a disk, and its owner's to delete."""

    def __init__(self, folder: Path, held: int = KEYS) -> None:
        self._folder, self._held = Path(mkdtemp(dir=folder)), held
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._count = 0
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []  # memory-mapped, ascending

    def add(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Int64 both, in any order."""
        self._waiting.append((keys, values))
        self._count += len(keys)
        if self._count > self._held:
            self._waiting = [_summed(self._waiting)]
            self._count = len(self._waiting[0][0])
            if self._count > self._held // 2:
                self._runs.append(self._spilt(*self._waiting.pop()))
                self._count = 0

    def _spilt(self, *arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        paths = [self._folder / f"{len(self._runs)}-{k}.npy" for k in range(2)]
        for path, array in zip(paths, arrays, strict=True):
            np.save(path, array)
        keys, values = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
        return keys, values

    def items(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All keys ascending, and their sums, some at a time."""
        runs = [*self._runs, _summed(self._waiting)]
        if len(runs) == 1:
            yield runs[0]
            return
        size = max(1, self._held // len(runs))
        at = [0] * len(runs)
        while any(start < len(keys) for start, (keys, _) in zip(at, runs, strict=True)):
            # up to the least of the runs' last keys in sight, every run is seen whole
            limit = min(
                keys[min(start + size, len(keys)) - 1] for start, (keys, _) in zip(at, runs) if start < len(keys)
            )
            parts = []
            for k, (keys, values) in enumerate(runs):
                end = at[k] + int(np.searchsorted(keys[at[k] : at[k] + size], limit, side="right"))
                parts.append((np.asarray(keys[at[k] : end]), np.asarray(values[at[k] : end])))
                at[k] = end
            yield _summed(parts)


def _summed(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, ascending, and their sums."""
    none = np.zeros(0, np.int64)
    keys, values = (np.concatenate([none, *(part[k] for part in parts)]) for k in range(2))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    return keys[starts], np.add.reduceat(values[order], starts) if len(starts) else none
