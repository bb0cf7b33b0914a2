"""Which side of the split an example is on: decided by its own hash, so that it never moves as data grow.

A hash alone leaves a class's share of a small split to chance. So a class may begin its validation and its test
a little earlier or later than the shares say, by edges that are found once and then remembered.
N examples, K classes, M pairs of near contents. A side is the number of its name in `SPLITS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import arrivals, artifacts
from pipeline.artifacts import SPLITS
from pipeline.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "label", "group", "split", "content")
"""What `examples` reads of the accepted rows."""
SHARES = (0.8, 0.1, 0.1)  # of train, validation, test
DRIFT = 0.03
"""A class's share of a split may differ this much from its share of all examples."""


@dataclass(frozen=True)
class Leak:
    """An example (a position) that is dropped from its side because one that it belongs to is on a greater side."""

    dropped: int
    near: int


@dataclass(frozen=True)
class Near:
    """What may not stand on two sides.

    same: a number of each example's content as the model sees it, int64 [N].
    pairs: the numbers of contents that are near each other, int64 [M, 2].
    groups: the number of each example's group, if it is in one of the user's, else -1, int64 [N].
    """

    same: np.ndarray
    pairs: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Record:
    """What a seed and shares once gave: an entry of data/splits/<task>.json.

    lacking: the splits that the user's own lacked, and that are drawn from the user's train examples since.
    begin: where validation and test begin in 0 ≤ x ≤ 1, by class, or by the group that strata.py makes.
    marks: what those groups are made by.
    """

    seed: int
    shares: tuple[float, ...]
    lacking: tuple[str, ...] = ()
    begin: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    marks: tuple[str | float, ...] = ()


@dataclass(frozen=True)
class Examples:
    """What decides the sides.

    places: `fraction` of each example's group, float64 [N].
    labels: each example's class, or group of strata.py, int32 [N], below K.
    given: the side that the user gave it, int8 [N], -1 for none.
    free: whether its side is drawn nevertheless, bool [N].
    near: which of them may not be on two sides.
    shares: of train, validation and test among those that are drawn, float64 [3].
    keys: each example's in the order of arrival, uint64 [N].
    """

    places: np.ndarray
    labels: np.ndarray
    given: np.ndarray
    free: np.ndarray
    near: Near
    shares: np.ndarray
    keys: np.ndarray

    @property
    def grouped(self) -> np.ndarray:
        """bool [N]: in a group of the user's, which may hold several classes, so that no class's edges apply."""
        found: np.ndarray = self.near.groups >= 0
        return found

    @property
    def begin(self) -> np.ndarray:
        """Where validation and test begin by the shares alone, float64 [2]."""
        return np.array([self.shares[0], self.shares[0] + self.shares[1] if self.shares[2] else 1.0])


def check(shares: Sequence[float]) -> None:
    """Raises: ValueError unless there are three positive shares with the sum 1."""
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(
            f"shares: found {list(shares)}; expected three numbers > 0 with the sum 1, of {', '.join(SPLITS)}"
        )


def fraction(seed: int, group: str) -> float:
    """The group's place in 0 ≤ x < 1, the same in every run and on every machine."""
    return int.from_bytes(blake2b(f"{seed}:{group}".encode(), digest_size=8).digest(), "big") / 2**64


def lacking(given: "pd.Series[str]") -> tuple[str, ...]:
    """The held-out splits that the user's own lacks; none where the user gave no split at all."""
    return tuple(name for name in SPLITS[1:] if given.notna().any() and not (given == name).any())


def examples(
    accepted: "Iterable[pd.DataFrame]",
    neighbours: "pd.DataFrame",
    classes: list[str],
    record: Record,
    number: "Callable[[pd.Series[str]], np.ndarray] | None" = None,
) -> Examples:
    """The accepted rows, which come part by part, as they are split.

    `neighbours` has the ids of near duplicates, in columns a and b. Where the user's own split lacks a part, such as
    validation, it is drawn from the user's train examples, in the proportion of the shares.
    `number` tells each row's group, int32 [N], where that is not its class.
    """
    import pandas as pd

    near = {*neighbours["a"], *neighbours["b"]}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("places", "labels", "given", "groups", "keys")}
    rows: dict[str, int] = {}
    numbers: dict[str, int] = {}
    count = 0
    for part in accepted:
        groups = part["group"].where(part["group"].notna(), part["content"])
        columns["places"].append(np.array([fraction(record.seed, group) for group in groups], np.float64))
        codes = number(part["label"]) if number else pd.Categorical(part["label"], categories=classes).codes
        columns["labels"].append(codes.astype(np.int32))
        columns["given"].append(pd.Categorical(part["split"], categories=SPLITS).codes.astype(np.int8))
        named = part["group"].notna().to_numpy()
        found = [numbers.setdefault(group, len(numbers)) for group in part["group"][named]]
        columns["groups"].append(np.full(len(part), -1))
        columns["groups"][-1][named] = found
        columns["keys"].append(arrivals.keys(part["content"].tolist()))
        rows |= {name: row for row, name in enumerate(part["id"], count) if name in near}
        count += len(part)
    given = np.concatenate([np.empty(0, np.int8), *columns["given"]])
    drawn = np.array([not record.lacking or name in ("train", *record.lacking) for name in SPLITS])
    shares = np.where(drawn, record.shares, 0.0)
    pairs = [[rows[name] for name in neighbours[column]] for column in ("a", "b")]
    return Examples(
        places=np.concatenate([np.empty(0), *columns["places"]]),
        labels=np.concatenate([np.empty(0, np.int32), *columns["labels"]]),
        given=given,
        free=(given < 0) | ((given == 0) & bool(record.lacking)),
        near=Near(
            np.arange(count),
            np.array(pairs, np.int64).T.reshape(-1, 2),
            np.concatenate([np.empty(0, np.int64), *columns["groups"]]),
        ),
        shares=shares / shares.sum(),
        keys=np.concatenate([np.empty(0, np.uint64), *columns["keys"]]),
    )


def read(task: str) -> list[Record]:
    """What earlier runs found. Raises: DataError for a file that is damaged."""
    file = path(task)
    try:
        return [_record(entry) for entry in artifacts.read_json(file)] if file.is_file() else []
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(
            f"{file}: no record of splits; expected what earlier runs wrote; bring it back with `git checkout HEAD "
            f"{file}`, or delete it: the split is then made anew"
        ) from None


def write(task: str, records: Sequence[Record]) -> None:
    artifacts.write_json(path(task), [_entry(record) for record in records])


def _entry(record: Record) -> dict[str, object]:
    return {key: value for key, value in asdict(record).items() if key != "marks" or value}


def of_seed(records: Sequence[Record], seed: int, shares: Sequence[float]) -> Record | None:
    return next((record for record in records if (record.seed, record.shares) == (seed, tuple(shares))), None)


def path(task: str) -> Path:
    return artifacts.DATA / "splits" / f"{task}.json"


def _record(entry: Mapping[str, object]) -> Record:
    """Raises: ValueError, LookupError, TypeError or AttributeError."""
    found = Record(**entry)  # type: ignore[arg-type]
    begin = {label: (float(first), float(last)) for label, (first, last) in found.begin.items()}
    if not all(0 <= first <= last <= 1 for first, last in begin.values()) or type(found.seed) is not int:
        raise ValueError
    if not set(found.lacking) <= set(SPLITS):
        raise ValueError
    return Record(found.seed, tuple(map(float, found.shares)), tuple(found.lacking), begin, tuple(found.marks))


def of(examples: Examples, edges: np.ndarray) -> np.ndarray:
    """Each example's side, int64 [N]: the user's, or that of its group, else by its place and its class's edges [K, 2].

    Where the user put a group's examples on several sides, the others of the group go with the greatest.
    """
    begin = np.where(examples.grouped[:, None], examples.begin, edges[examples.labels])
    given, groups = np.where(examples.free, -1, examples.given).astype(np.int64), examples.near.groups
    theirs = _greatest(given, groups)[groups]
    following = (examples.given < 0) & examples.grouped & (theirs >= 0)
    drawn = np.where(following, theirs, (examples.places[:, None] >= begin).sum(axis=1))
    return np.where(examples.free, drawn, given).astype(np.int64)


def leaks(found: np.ndarray, near: Near) -> list[Leak]:
    """Of equal or near examples or a group on several sides, those on the lesser ones: train, then validation.

    An example is dropped even where the one it is near is dropped too: more data never bring one back.
    """
    top = _greatest(found, near.same)
    cause: dict[int, int] = {}  # of each content that is near one on a greater side: that one
    for a, b in near.pairs[top[near.pairs[:, 0]] != top[near.pairs[:, 1]]].tolist():
        lesser, greater = (a, b) if top[a] < top[b] else (b, a)
        if lesser not in cause or top[greater] > top[cause[lesser]]:
            cause[lesser] = greater
    first, leader = _first_of_greatest(found, near.same), _first_of_greatest(found, near.groups)
    dropped = []
    for row in np.flatnonzero(~kept(found, near)).tolist():
        number, group = int(near.same[row]), int(near.groups[row])
        greater = int(first[cause.get(number, number)])
        if group >= 0 and found[leader[group]] > found[greater]:
            greater = int(leader[group])
        dropped.append(Leak(row, greater))
    return dropped


def kept(found: np.ndarray, near: Near) -> np.ndarray:
    """Which examples are left when leaks are dropped, bool [N]."""
    top = _greatest(found, near.same)
    worst = top.copy()
    for a, b in (near.pairs.T, near.pairs.T[::-1]):
        np.maximum.at(worst, a, top[b])
    left: np.ndarray = found >= np.maximum(worst[near.same], _greatest(found, near.groups)[near.groups])
    return left


def _greatest(found: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Of each number the greatest side of its examples; the last entry is of no number, -1."""
    top = np.full(int(numbers.max(initial=-1)) + 2, -1, np.int64)
    named = numbers >= 0
    np.maximum.at(top, numbers[named], found[named])
    return top


def _first_of_greatest(found: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Of each number the first of its examples that is on its greatest side."""
    top = _greatest(found, numbers)
    first = np.full(len(top), len(found))
    rows = np.flatnonzero(found == top[numbers])
    np.minimum.at(first, numbers[rows], rows)
    return first


def counts(labels: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """How many examples of a class are on a side, int64 [K, 3]."""
    cells = labels.astype(np.int64) * len(SPLITS) + found
    return np.bincount(cells, minlength=classes * len(SPLITS)).reshape(classes, len(SPLITS))


def table(
    examples: Examples, found: np.ndarray, rows: np.ndarray, classes: int, having: np.ndarray | None = None
) -> np.ndarray:
    """How many of the rows, bool [N], that are of a class are on a side, int64 [K, 3].

    having: which of several labels each example has, bool [N, K].
    """
    if having is None:
        return counts(examples.labels[rows], found[rows], classes)
    sums = [having[rows & (found == side)].sum(axis=0) for side in range(len(SPLITS))]
    return np.stack(sums, axis=1).astype(np.int64)


def drift(table: np.ndarray, sizes: np.ndarray | None = None) -> float:
    """By how much a class's share of a split differs from its share of all, at most, for counts [K, splits].

    One more for every split that lacks a class. sizes: examples of each split, [splits], where one may count for
    several classes.
    """
    sizes = table.sum(axis=0) if sizes is None else sizes
    shares = table / np.maximum(sizes, 1)
    overall = table.sum(axis=1, keepdims=True) / max(sizes.sum(), 1)
    return float(np.abs(shares - overall).max() + (table == 0).sum())
