"""What a random split of the rows as they came would have scored, beside the split that is used.

Where equal or nearly equal examples lie on both sides of a split, a model is praised for what it remembers. A simple
model is fitted on both splits, so that the two scores differ by the split alone.
N rows, D distinct contents, M pairs of near duplicates.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.near import pairs

DRAWS = 3
SURE = 2000
"""Test rows from which on one draw of a random split is enough."""


@dataclass(frozen=True)
class Score:
    """accuracy with its 95 % Wilson interval; seen: the share of test rows with an equal or near one in train."""

    accuracy: float
    low: float
    high: float
    seen: float
    train: int
    test: int


@dataclass(frozen=True)
class Rows:
    """The rows as they came, but for those that cannot be read.

    contents: the number of each row's content, int64 [N]; labels: str [N]; sides: the row's split as it is used,
    "" for none, str [N]; near: pairs of near contents, int64 [M, 2].
    """

    contents: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    near: np.ndarray


def leakage(rows: Rows, x: Any, module: ModuleType, seed: int = 0) -> dict[str, Any]:
    """The honest and the naive score and what lies between; x: the features of each content, a matrix with D rows."""
    train, test = (np.flatnonzero(rows.sides == name) for name in ("train", "test"))
    honest = _score(rows, x, module, train, test)
    sizes = np.array([len(train), len(test)]) * len(rows.contents) // max(int((rows.sides != "").sum()), 1)
    draws = []
    for draw in range(1 if sizes[1] >= SURE else DRAWS):
        order = np.random.default_rng([seed, draw]).permutation(len(rows.contents))
        draws.append(_score(rows, x, module, order[: sizes[0]], order[sizes[0] : sizes.sum()]))
    accuracy = float(np.mean([draw.accuracy for draw in draws]))
    naive = Score(
        accuracy,
        *wilson(accuracy, draws[0].test),
        float(np.mean([draw.seen for draw in draws])),
        draws[0].train,
        draws[0].test,
    )
    return {
        "model": module.MODEL,
        "honest": {key: round(value, 4) for key, value in asdict(honest).items()},
        "naive": {key: round(value, 4) for key, value in asdict(naive).items()},
        "inflation": round(naive.accuracy - honest.accuracy, 4),
    }


def _score(rows: Rows, x: Any, module: ModuleType, train: np.ndarray, test: np.ndarray) -> Score:
    labels = rows.labels
    if len(set(labels[train].tolist())) < 2 or not len(test):
        return Score(0.0, 0.0, 1.0, 0.0, len(train), len(test))
    predict = module.fit(x[rows.contents[train]], labels[train])
    accuracy = float((predict(x[rows.contents[test]]) == labels[test]).mean())
    known = np.zeros(x.shape[0], bool)
    known[rows.contents[train]] = True
    near = known.copy()
    for a, b in (rows.near.T, rows.near.T[::-1]):
        near[a[known[b]]] = True
    return Score(accuracy, *wilson(accuracy, len(test)), float(near[rows.contents[test]].mean()), len(train), len(test))


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of `count` (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def sampled(contents: Sequence[str], near: np.ndarray, most: int) -> np.ndarray:
    """bool [D]: at most `most` of the distinct contents, chosen by their own hashes.

    Contents that chains of near pairs [M, 2] connect are taken together: a copy without the other would be none.
    """
    if len(contents) <= most:
        return np.ones(len(contents), bool)
    hashes = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") for text in contents]
    own = np.array(hashes, np.uint64)
    groups = pairs.groups(len(contents), near)
    least = np.full(int(groups.max()) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, groups, own)
    chosen = np.zeros(len(contents), bool)
    chosen[np.lexsort((own, groups, least[groups]))[:most]] = True
    return chosen


def words(found: dict[str, Any]) -> str:
    """The finding in a sentence."""
    naive, honest = found["naive"], found["honest"]
    text = f"a random split of the rows as they came would have scored {naive['accuracy']:.3f}"
    text += f" ({naive['seen']:.0%} of its test rows have an equal or near one in train), the split in use scores"
    return f"{text} {honest['accuracy']:.3f} ({honest['low']:.3f}-{honest['high']:.3f}), with a {found['model']}"
