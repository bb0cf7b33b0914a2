"""Where each image of a split lies in memory: one array, shards of one size, or images each of its own size.

N images, H height, W width, C channels.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pipeline.store import Ragged


class Shards(Protocol):
    """Arrays uint8 [n, H, W, C], most often memory-mapped files, seen as one: pipeline/store.py's Store."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def shards(self) -> Sequence[np.ndarray]: ...

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each row's shard, and its row there."""
        ...


Images = np.ndarray | Shards | Ragged


class Layout:
    """Addresses and sizes of images, with the arrays that hold them kept alive."""

    def __init__(self, images: Images):
        self.size: tuple[int, int] | None
        self.arrays: list[np.ndarray]
        if isinstance(images, Ragged):
            self.count, self.channels, self.size = len(images), images.channels, None
            self.arrays = images.flats
        else:
            self.count, height, width, self.channels = (int(n) for n in images.shape)
            self.size = (height, width)
            self.arrays = [images] if isinstance(images, np.ndarray) else list(images.shards)
        for array in self.arrays:
            assert array.dtype == np.uint8 and array.flags.c_contiguous, "the kernel reads plain bytes"
        self._images = images
        self._starts = np.array([array.ctypes.data for array in self.arrays], np.uintp)

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """Heights and widths, int64 [B, 2]."""
        if isinstance(self._images, Ragged):
            return self._images.shapes[rows, :2].astype(np.int64)
        return np.broadcast_to(np.array(self.size, np.int64), (len(rows), 2))

    def addresses(self, rows: np.ndarray) -> np.ndarray:
        """uintp [B]. Raises: IndexError for a row that is not there."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.count} images")
        if isinstance(self._images, Ragged):
            return self._starts[self._images.shard[rows]] + self._images.offsets[rows].astype(np.uintp)
        assert self.size is not None
        bytes_each = np.uintp(self.size[0] * self.size[1] * self.channels)
        if isinstance(self._images, np.ndarray):
            return self._starts[0] + rows.astype(np.uintp) * bytes_each
        shards, inside = self._images.locate(rows)
        lengths = np.array([len(array) for array in self.arrays])
        if len(rows) and ((inside < 0) | (inside >= lengths[shards])).any():
            raise IndexError(f"rows {inside.min()} to {inside.max()} of shards of {lengths.max()} images at most")
        return self._starts[shards] + inside.astype(np.uintp) * bytes_each
