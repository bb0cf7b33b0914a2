"""Which side of the split an example is on: decided by its own hash, so that it never moves as data grow.

A hash alone leaves a class's share of a small split to chance. So a class may begin its validation and its test
a little earlier or later than the shares say, by edges that are found once and then remembered.
N examples, K classes, M pairs of near duplicates. A side is the number of its name in `SPLITS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import artifacts
from pipeline.artifacts import SPLITS
from pipeline.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.8, 0.1, 0.1)  # of train, validation, test
DRIFT = 0.03
"""A class's share of a split may differ this much from its share of all examples."""
AIM = 0.02
"""The drift at which edges are good enough when they are found: less than `DRIFT`, so that there is room to grow."""
ROUNDS = 5
"""How often edges are fitted to the leaks that they cause."""


Begin = dict[str, tuple[float, float]]
"""Where validation and test begin in 0 ≤ x < 1, by class: data/splits/<task>.json."""


@dataclass(frozen=True)
class Leak:
    """An example (a position) that is dropped from its side because it is near one on a side that counts more."""

    dropped: int
    near: int


@dataclass(frozen=True)
class Examples:
    """What decides the sides.

    places: `fraction` of each example's group, float64 [N].
    labels: each example's class, int64 [N], below K.
    given: the side that the user gave it, int64 [N], -1 for none.
    grouped: whether it is in a group of the user's, which may hold several classes, bool [N]: no class's edges apply.
    pairs: near duplicates, int64 [M, 2].
    """

    places: np.ndarray
    labels: np.ndarray
    given: np.ndarray
    grouped: np.ndarray
    pairs: np.ndarray


def check(shares: Sequence[float]) -> None:
    """Raises: ValueError unless there are three positive shares with the sum 1."""
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(
            f"shares: found {list(shares)}; expected three numbers > 0 with the sum 1, of {', '.join(SPLITS)}"
        )


def fraction(seed: int, group: str) -> float:
    """The group's place in 0 ≤ x < 1, the same in every run and on every machine."""
    return int.from_bytes(blake2b(f"{seed}:{group}".encode(), digest_size=8).digest(), "big") / 2**64


def examples(accepted: "pd.DataFrame", neighbours: "pd.DataFrame", classes: list[str], seed: int) -> Examples:
    """The accepted rows as they are split; `neighbours` has the ids of near duplicates, in columns a and b."""
    import pandas as pd

    groups = accepted["group"].fillna(accepted["content"])
    rows = pd.Series(np.arange(len(accepted)), index=accepted["id"])
    return Examples(
        places=np.array([fraction(seed, group) for group in groups]),
        labels=pd.Categorical(accepted["label"], categories=classes).codes.astype(np.int64),
        given=pd.Categorical(accepted["split"], categories=SPLITS).codes.astype(np.int64),
        grouped=accepted["group"].notna().to_numpy(),
        pairs=np.stack([rows[neighbours["a"]].to_numpy(), rows[neighbours["b"]].to_numpy()], axis=1),
    )


def read(task: str, seed: int, shares: Sequence[float]) -> Begin:
    """What an earlier run wrote with this seed and these shares; else nothing.

    Raises: DataError for a file that is damaged.
    """
    path = _path(task)
    if not path.is_file():
        return {}
    try:
        found = artifacts.read_json(path)
        if (found["seed"], found["shares"]) != (seed, list(shares)):
            return {}
        return {str(label): (float(begin[0]), float(begin[1])) for label, begin in found["begin"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(
            f"{path}: no record of a split; expected what an earlier run wrote; `git checkout {path}` brings it "
            "back; without the file the split is made anew"
        ) from None


def write(task: str, seed: int, shares: Sequence[float], begin: Begin) -> None:
    artifacts.write_json(_path(task), {"seed": seed, "shares": list(shares), "begin": begin})


def _path(task: str) -> Path:
    return artifacts.DATA / "splits" / f"{task}.json"


def plain(shares: Sequence[float], classes: int) -> np.ndarray:
    """Where validation and test begin by the shares alone, float64 [K, 2]."""
    return np.tile(np.cumsum(shares)[:2], (classes, 1))


def of(examples: Examples, shares: Sequence[float], edges: np.ndarray) -> np.ndarray:
    """Each example's side, int64 [N]: the user's, else by its place and the edges [K, 2] of its class.

    Where the user's own split lacks a part, such as validation, that part is drawn from the user's train
    examples, in the proportion of the shares.
    """
    begin = np.where(examples.grouped[:, None], np.cumsum(shares)[:2], edges[examples.labels])
    drawn = (examples.places[:, None] >= begin).sum(axis=1)
    found = np.where(examples.given < 0, drawn, examples.given)
    lacking = [side for side in range(len(SPLITS)) if side not in examples.given]
    if 0 < len(lacking) < len(SPLITS):
        train = examples.given == 0
        parts = np.array([0, *lacking])
        bounds = np.cumsum(np.array(shares)[parts])
        found[train] = parts[np.searchsorted(bounds[:-1] / bounds[-1], examples.places[train], side="right")]
    return found


def leaks(found: np.ndarray, pairs: np.ndarray) -> list[Leak]:
    """Of near duplicates on different sides, the one on the lesser side: train, then validation.

    An example is dropped even where the one it is near is dropped too: more data never bring one back.
    """
    worst: dict[int, int] = {}
    for a, b in pairs[found[pairs[:, 0]] != found[pairs[:, 1]]].tolist():
        lesser, greater = (a, b) if found[a] < found[b] else (b, a)
        if lesser not in worst or found[greater] > found[worst[lesser]]:
            worst[lesser] = greater
    return [Leak(dropped, near) for dropped, near in sorted(worst.items())]


def drift(labels: np.ndarray, found: np.ndarray, classes: int) -> float:
    """By how much a class's share of a split differs from its share of all, at most.

    Infinite where a split has no example of a class.
    """
    counts = np.zeros((classes, len(SPLITS)))
    np.add.at(counts, (labels, found), 1)
    if not counts.all():
        return np.inf
    overall = counts.sum(axis=1, keepdims=True) / counts.sum()
    return float(np.abs(counts / counts.sum(axis=0) - overall).max())


def balance(examples: Examples, shares: Sequence[float], remembered: np.ndarray) -> np.ndarray:
    """Edges [K, 2] for all classes: the remembered ones, and new ones for the classes whose row is not a number.

    New edges stay as near to the shares as they can with every class in every split and, after leaks are dropped,
    a drift of `AIM` at most: the less they are fitted to the first examples, the better they suit later ones.
    """
    general = plain(shares, len(remembered))
    new = np.isnan(remembered[:, :1])
    start = np.where(new, general, remembered)

    def drifts(edges: np.ndarray) -> float:
        found = of(examples, shares, edges)
        kept = np.delete(np.arange(len(found)), [leak.dropped for leak in leaks(found, examples.pairs)])
        return drift(examples.labels[kept], found[kept], len(edges))

    if not new.any() or drifts(start) <= AIM:
        return start
    fitted = min(_fitted(examples, shares, start, np.flatnonzero(new)), key=drifts)
    blends = [start + weight * (fitted - start) for weight in (0.25, 0.5, 0.75, 1)]
    return next((edges for edges in blends if drifts(edges) <= AIM), min(start, *blends, key=drifts))


def _fitted(
    examples: Examples, shares: Sequence[float], edges: np.ndarray, classes: np.ndarray
) -> Iterator[np.ndarray]:
    """Edges that give each of the classes its shares of what is left of it without the leaks of the edges before."""
    mine = (examples.given < 0) & ~examples.grouped
    for _ in range(ROUNDS):
        found = of(examples, shares, edges)
        dropped = np.array([leak.dropped for leak in leaks(found, examples.pairs)], dtype=np.int64)
        edges = edges.copy()
        for label in classes:
            of_class = mine & (examples.labels == label)
            lost = dropped[of_class[dropped]]
            edges[label] = _edges(
                np.sort(examples.places[of_class]), shares, np.bincount(found[lost], minlength=len(SPLITS))
            )
        yield edges


def _edges(places: np.ndarray, shares: Sequence[float], lost: np.ndarray) -> np.ndarray:
    """Where validation and test begin among a class's sorted places, so that each split has at least one of them.

    `lost` is how many each split will lose, int64 [3].
    """
    count = len(places)
    if count < len(SPLITS):
        return np.cumsum(shares)[:2]
    wanted = np.array(shares) * (count - lost.sum()) + lost
    test = int(np.clip(round(wanted[2]), 1, count - 2))
    validation = int(np.clip(round(wanted[1]), 1, count - 1 - test))
    starts = np.array([count - test - validation, count - test])
    return (places[starts - 1] + places[starts]) / 2
