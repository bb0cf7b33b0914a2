"""Which images are almost the same: their hashes differ in a few bits, and their small grey copies correlate.

A hash alone would chain different images of one make, such as solar cells, into one large group.
N images, S pixels a side of a grey copy, M pairs.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from pipeline.near import pairs

GREY = 64  # pixels a side of the copy that the correlation compares
FIELDS = 8  # a side, whose means tell most images apart that have equal hashes, as those on a plain ground may
VALUES = 16  # of these means' main axes
SAMPLE = 1000  # images
MANY = 50  # pairs an image
ROUNDING = 1e-4  # of squared distances, far above that of their float32
PIECE = 1 << 18  # pairs that wait for their correlation, images that are worked off at once


def dhash(image: Image.Image) -> int:
    """64 bits: whether each of 8×8 pixels of a small grey copy is darker than its right neighbour."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def grey(image: Image.Image) -> np.ndarray:
    """uint8 [GREY, GREY]."""
    return np.asarray(image.convert("L").resize((GREY, GREY), Image.Resampling.BICUBIC))


def flat(image: Image.Image) -> str | None:
    """The one colour of its small copy, as #rrggbb: what tells images that have no correlation. None for others."""
    extrema: Any = image.resize((GREY, GREY), Image.Resampling.BICUBIC).convert("RGB").getextrema()
    return "#" + "".join(f"{low:02x}" for low, _ in extrema) if all(low == high for low, high in extrema) else None


def neighbours(
    hashes: np.ndarray, greys: np.ndarray, rows: np.ndarray, *, distance: int, correlation: float
) -> np.ndarray:
    """int64 [M, 2]: pairs whose hashes differ in at most `distance` bits and whose greys correlate. Exact at any N.

    hashes uint64 [N]; greys uint8 [any, S, S], may be memory-mapped; greys[rows[n]] is that of hashes[n].
    One-colour images, whose correlation is undefined, are near to none: `flat` tells which of them are alike.
    """
    return pairs.collected(_confirmed(hashes, greys, rows, distance, correlation), "validate.near_correlation")


def _confirmed(
    hashes: np.ndarray, greys: np.ndarray, rows: np.ndarray, distance: int, correlation: float
) -> Iterator[np.ndarray]:
    from pipeline.near import kernels

    flat = greys.reshape(len(greys), -1)
    sums, squares = kernels.moments(flat, rows)
    varied = np.flatnonzero(flat.shape[1] * squares > sums * sums)
    if len(varied) < 2:
        return
    points = np.zeros((len(varied), 1), np.float32)  # none is far from another
    if _crowded(hashes[varied], distance):
        points = _points(flat, rows[varied], sums[varied], squares[varied])
    for piece in close(hashes[varied], points, distance, 2 * (1 - correlation) + ROUNDING):
        found = varied[piece]
        yield found[kernels.correlations(flat, rows, sums, squares, found) >= correlation]


def _crowded(hashes: np.ndarray, distance: int) -> bool:
    """Whether the hashes leave so many pairs an image that a look at its `_points` costs less; judged by a sample."""
    some = hashes[:: -(-len(hashes) // SAMPLE)]
    near = np.count_nonzero(np.bitwise_count(some[:, None] ^ some) <= distance) - len(some)
    return bool(near / len(some) ** 2 * len(hashes) > MANY)


def _points(flat: np.ndarray, rows: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """float32 [N, VALUES], no farther from each other than the greys at norm 1: their main axes, the first first."""
    from pipeline.near import kernels

    def coarse(some: np.ndarray) -> np.ndarray:
        return kernels.coarse(flat, rows[some], sums[some], squares[some], FIELDS)

    _, axes = np.linalg.eigh(np.cov(coarse(np.arange(0, len(rows), -(-len(rows) // SAMPLE))).T))
    main = axes[:, : -VALUES - 1 : -1].astype(np.float32)
    starts = range(0, len(rows), PIECE)
    return np.concatenate([coarse(np.arange(start, min(start + PIECE, len(rows)))) @ main for start in starts])


def close(hashes: np.ndarray, points: np.ndarray, distance: int, limit: float) -> Iterator[np.ndarray]:
    """Pairs of hashes within `distance` bits, in pieces: such two are equal in one of `distance + 1` bands of bits.

    So says the pigeonhole principle; a pair that an earlier band has shown is not shown again. Pairs whose points
    float32 [N, any] are farther apart than `limit`, squared, are left out.
    """
    from pipeline.near import kernels

    edges = np.linspace(0, 64, distance + 2).round().astype(int)
    masks = np.array([(1 << int(high)) - (1 << int(low)) for low, high in itertools.pairwise(edges)], np.uint64)
    for number, mask in enumerate(masks):
        order = np.lexsort((points[:, 0], hashes & mask))
        words, places = hashes[order], points[order]
        state = np.array([0, 1], np.int64)
        while state[0] < len(order) - 1:
            piece = kernels.close(words, places, masks[: number + 1], distance, limit, state, PIECE)
            if len(piece):
                yield order[piece]
