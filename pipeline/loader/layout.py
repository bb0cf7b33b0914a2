"""Where each image of a split lies in memory: one array, shards of one size, or images each of its own size.

N images, H height, W width, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pipeline.errors import DataError


@runtime_checkable
class Shards(Protocol):
    """Arrays uint8 [n, H, W, C], most often memory-mapped files, seen as one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def shards(self) -> Sequence[np.ndarray]: ...

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each row's shard, and its row there."""
        ...

    def __getitem__(self, rows: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Ragged:
    """Images at the sizes that they have: image i is flat[offsets[i]:offsets[i + 1]], uint8 of `shapes[i]`."""

    flat: np.ndarray  # uint8, most often memory-mapped
    offsets: np.ndarray  # int64 [N + 1]
    shapes: np.ndarray  # int [N, 3]: height, width, channels; all of the same channels

    def __post_init__(self) -> None:
        wanted = np.concatenate([[0], np.cumsum(self.shapes.astype(np.int64).prod(axis=1))])
        same = len(self.shapes) == 0 or (self.shapes[:, 2] == self.shapes[0, 2]).all()
        if not np.array_equal(self.offsets, wanted) or wanted[-1] != len(self.flat) or not same:
            raise DataError(
                f"images of {len(self.shapes)} sizes: found {len(self.flat):,} bytes; expected {wanted[-1]:,} bytes "
                "of images of one number of channels, each where the one before it ends; run prepare again"
            )

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def channels(self) -> int:
        return int(self.shapes[0, 2])

    def __getitem__(self, row: int) -> np.ndarray:
        """One image, uint8 [H, W, C]."""
        return self.flat[self.offsets[row] : self.offsets[row + 1]].reshape(self.shapes[row])


Images = np.ndarray | Shards | Ragged


class Layout:
    """Addresses and sizes of images, with the arrays that hold them kept alive."""

    def __init__(self, images: Images):
        self.arrays: list[np.ndarray]
        if isinstance(images, Ragged):
            self.count, self.channels, self.size = len(images), images.channels, None
            self.arrays = [images.flat]
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
            return self._starts[0] + self._images.offsets[rows].astype(np.uintp)
        assert self.size is not None
        bytes_each = np.uintp(self.size[0] * self.size[1] * self.channels)
        if isinstance(self._images, np.ndarray):
            return self._starts[0] + rows.astype(np.uintp) * bytes_each
        shards, inside = self._images.locate(rows)
        lengths = np.array([len(array) for array in self.arrays])
        if len(rows) and ((inside < 0) | (inside >= lengths[shards])).any():
            raise IndexError(f"rows {inside.min()} to {inside.max()} of shards of {lengths.max()} images at most")
        return self._starts[shards] + inside.astype(np.uintp) * bytes_each
