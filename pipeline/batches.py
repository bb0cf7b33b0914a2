"""Which rows form a batch, and the arrays of one batch.

N examples, B examples of a batch, H height, W width, C channels in pixels, T tokens of the longest text of a batch.
"""

from collections.abc import Callable

import numpy as np

from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.features import resizing
from pipeline.store import Ragged

Order = Callable[[np.random.Generator], np.ndarray]
"""Draws the rows of an epoch, each as often as it is to be seen."""
POOL = 50
"""Batches among which texts are sorted by length: enough for little padding, few enough to stay random."""


def lengths(split: Split, inputs: TextInputs) -> np.ndarray:
    """Tokens that the network reads of each text, int64 [N]."""
    assert split.texts is not None
    return np.minimum(split.texts.lengths, inputs.length).astype(np.int64)


def begin(seed: int, epoch: int) -> tuple[int, np.random.Generator]:
    """An epoch's random numbers: a seed for the network's own draws, and what its order and augmentation draw from."""
    random = np.random.default_rng([seed, epoch])
    return int(random.integers(2**63)), random


def dealt(order: np.ndarray, size: int) -> list[np.ndarray]:
    """All of the rows, in batches whose sizes differ by at most one, each in rising order."""
    return [np.sort(rows) for rows in np.array_split(order, -(-len(order) // size))]


def part(count: int, rank: int, world: int) -> slice:
    """One rank's rows of a batch of so many."""
    return slice(count * rank // world, count * (rank + 1) // world)


def shuffled(
    split: Split,
    inputs: ImageInputs | TextInputs,
    size: int,
    random: np.random.Generator,
    order: Order | None = None,
) -> list[np.ndarray]:
    """Every row once, or as `order` draws them, in batches whose sizes differ by at most one.

    Texts of a batch are of similar length.
    """
    drawn = order(random) if order else random.permutation(len(split))
    if isinstance(inputs, ImageInputs):
        return dealt(drawn, size)
    count = -(-len(drawn) // size)
    tokens = lengths(split, inputs)
    pools = np.array_split(drawn, -(-count // POOL))
    rising = [pool[np.argsort(tokens[pool], kind="stable")] for pool in pools]
    drawn = np.concatenate([pool[:: -1 if k % 2 else 1] for k, pool in enumerate(rising)])  # alike where pools meet
    result = np.array_split(drawn, count)
    return [result[k] for k in random.permutation(count)]


def by_length(
    split: Split, inputs: ImageInputs | TextInputs, size: int, rows: np.ndarray | None = None
) -> list[np.ndarray]:
    """Every row once, or each of `rows`, in order; texts from short to long, so that a batch is padded little."""
    order = np.arange(len(split)) if rows is None else rows
    if isinstance(inputs, TextInputs):
        order = order[np.argsort(lengths(split, inputs)[order], kind="stable")]
    return np.array_split(order, -(-len(order) // size))


def read(split: Split, rows: np.ndarray, inputs: ImageInputs | TextInputs) -> np.ndarray:
    """uint8 [B, H, W, C], or ids int64 [B, T] padded with 0 (T ≥ 1, at most `inputs.length`).

    Of images that keep their own sizes the middle is cut and resized, as serving does.
    """
    if isinstance(inputs, ImageInputs):
        assert split.images is not None
        if isinstance(split.images, Ragged):
            return np.stack([_cut(split.images[row], inputs.height) for row in rows.tolist()])
        return np.ascontiguousarray(split.images[rows])
    assert split.texts is not None
    return split.texts.padded(rows, inputs.length)


def blanked(ids: np.ndarray, random: np.random.Generator, share: float) -> np.ndarray:
    """A share of the tokens [B, T] turned into the unknown token 1, padding aside."""
    return np.where((random.random(ids.shape) < share) & (ids != 0), 1, ids)


def _cut(image: np.ndarray, side: int) -> np.ndarray:
    height, width, _ = image.shape
    return resizing.resize(image, resizing.frame(width, height, side, "crop"))
