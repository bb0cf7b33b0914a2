"""Which side of the split an example is on: decided by itself alone, so that it never moves as data grow."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from pipeline.artifacts import SPLITS

SHARES = (0.8, 0.1, 0.1)  # of train, validation, test


@dataclass(frozen=True)
class Leak:
    """An example (a position) that is dropped from its side because it is near one on a side that counts more."""

    dropped: int
    near: int


def check(shares: Sequence[float]) -> None:
    """Raises: ValueError unless there are three positive shares with the sum 1."""
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(
            f"shares: found {list(shares)}; expected three numbers > 0 with the sum 1, of {', '.join(SPLITS)}"
        )


def fraction(seed: int, group: str) -> float:
    """The group's place in 0 ≤ x < 1, the same in every run and on every machine."""
    return int.from_bytes(blake2b(f"{seed}:{group}".encode(), digest_size=8).digest(), "big") / 2**64


def sides(groups: Sequence[str], given: Sequence[str | None], seed: int, shares: Sequence[float]) -> list[str]:
    """Each example's split: the one that the user gave, else by the hash of its group.

    Where the user's own split lacks a part, such as validation, that part is drawn from the user's train
    examples, in the proportion of the shares.
    """
    lacking = [name for name in SPLITS if name not in set(given)]
    drawn = ["train", *lacking] if lacking and len(lacking) < len(SPLITS) else []
    return [_side(fraction(seed, group), own, drawn, shares) for group, own in zip(groups, given, strict=True)]


def _side(place: float, own: str | None, drawn: Sequence[str], shares: Sequence[float]) -> str:
    if own and not (own == "train" and drawn):
        return own
    names = drawn if own else SPLITS
    parts = [share for name, share in zip(SPLITS, shares, strict=True) if name in names]
    edges = np.cumsum(parts) / sum(parts)
    inside = [name for name in SPLITS if name in names]
    return inside[min(int(np.searchsorted(edges, place, side="right")), len(inside) - 1)]


def leaks(found: Sequence[str], pairs: np.ndarray) -> list[Leak]:
    """Of near duplicates (int64 [M, 2]) on different sides, the one on the lesser side: train, then validation.

    An example is dropped even where the one it is near is dropped too: more data never bring one back.
    """
    rank = {name: number for number, name in enumerate(SPLITS)}
    worst: dict[int, int] = {}
    for a, b in pairs.tolist():
        lesser, greater = sorted((a, b), key=lambda row: rank[found[row]])
        if found[lesser] == found[greater]:
            continue
        if lesser not in worst or rank[found[greater]] > rank[found[worst[lesser]]]:
            worst[lesser] = greater
    return [Leak(dropped, near) for dropped, near in sorted(worst.items())]
