"""What calibration batches have to be, so that the ranges taken from them hold for other data too. N examples."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import DataError
from pipeline.graphs import Feed

FEWEST = 8
"""Examples below which a range is that of single ones."""


def check(calibration: Sequence[Feed], truth: np.ndarray) -> None:
    """truth: of the split that the batches come from, int64 [N] of classes, else float32 [N, O].

    Raises: DataError for batches that `require` refuses, and for examples of one class alone.
    """
    require(calibration)
    if truth.ndim == 1 and len(np.unique(truth)) < 2:
        raise DataError(
            f"compress.examples: all {len(truth):,} examples for calibration are of one class; expected two at least; "
            "the values of the others may lie outside of its ranges: add examples of them to the train split"
        )


def require(calibration: Sequence[Feed]) -> None:
    """Raises: DataError for fewer than `FEWEST` examples, and for a number that is not finite."""
    count = sum(len(next(iter(feed.values()))) for feed in calibration)
    if count < FEWEST:
        raise DataError(
            f"compress.examples: found {count} for calibration; expected {FEWEST} at least, since ranges of so few do "
            "not hold for others; raise it, or add examples to the train split"
        )
    for number, feed in enumerate(calibration):
        for name, array in feed.items():
            if not np.isfinite(array).all():
                raise DataError(
                    f"calibration batch {number}: {name} has NaN or infinity; expected numbers, since no range holds "
                    "them; take the example out of the train split"
                )
