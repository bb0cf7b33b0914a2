"""k folds by the rule of the split: each example's fold is decided by its own hash or its group's, and never moves.

In every fold one part is test, the next is validation, and the others are train, without the near duplicates of held
out examples. The user's own split is not followed. N examples.
"""

import numpy as np

from pipeline import sides

DROPPED = -1


def parts(places: np.ndarray, count: int) -> np.ndarray:
    """Each example's part, int64 [N] below `count`, by `sides.fraction` of its group, float64 [N]."""
    return np.minimum((places * count).astype(np.int64), count - 1)


def fold(places: np.ndarray, near: sides.Near, number: int, count: int) -> np.ndarray:
    """Each example's side in one of `count` folds: 0 train, 1 validation, 2 test, or DROPPED, int64 [N].

    One of `near` that is on a lesser side is dropped, as in the split itself.
    """
    if not 0 <= number < count or count < 3:
        raise ValueError(f"fold: found {number} of {count}; expected at least 3 folds, numbered from 0")
    found = (parts(places, count) == (number + 1) % count).astype(np.int64)
    found[parts(places, count) == number] = 2
    return np.where(sides.kept(found, near), found, DROPPED)
