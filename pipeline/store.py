"""Images of one size in memory-mapped shards, seen as one array uint8 [N, H, W, C], or each of its own size.

Each shard is a .npy file that `numpy.load` reads alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import DataError


class Store:
    """Opened once; pages are read as rows are asked for, and belong to the operating system."""

    def __init__(self, shards: Sequence[np.ndarray], shape: tuple[int, int, int]) -> None:
        """`shards` are arrays [n, H, W, C]; `shape` is (H, W, C), also where there is no shard."""
        self.shards = list(shards)
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)]).astype(np.int64)
        self.shape = (int(self.starts[-1]), *shape)
        self.dtype = np.dtype(np.uint8)

    @classmethod
    def open(cls, paths: Sequence[Path], shape: tuple[int, int, int]) -> "Store":
        """Raises: ValueError for a shard of another shape or type."""
        shards = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        for path, shard in zip(paths, shards, strict=True):
            if shard.shape[1:] != shape or shard.dtype != np.uint8:
                raise ValueError(f"{path}: found {shard.dtype} {shard.shape[1:]}; expected uint8 {shape}")
        return cls(shards, shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for shard in self.shards:
            yield from shard

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each row's shard and its row within it, int64 [B] both."""
        rows = np.asarray(rows, np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"a row beyond 0..{len(self) - 1}")
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        return shard, rows - self.starts[shard]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """A copy of the rows, uint8 [B, H, W, C], or one image [H, W, C] for a number."""
        if isinstance(rows, int | np.integer):
            shard, row = self.locate(np.array([rows + len(self) if rows < 0 else rows]))
            return np.array(self.shards[shard[0]][row[0]])
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        shard, row = self.locate(wanted)
        for number in np.unique(shard):
            mine = shard == number
            out[mine] = self.shards[number][row[mine]]
        return out


class Ragged:
    """Images at the sizes that they have, in shards: the bytes of one after the other, and the shape of each.

    `flats` are uint8 [bytes], most often memory-mapped; `shapes` int [n, 3] of each, height, width, channels.
    """

    def __init__(self, flats: Sequence[np.ndarray], shapes: Sequence[np.ndarray]):
        self.flats = list(flats)
        self.shapes = np.concatenate([np.empty((0, 3), np.int32), *shapes]).astype(np.int32)
        self.shard = np.repeat(np.arange(len(self.flats)), [len(some) for some in shapes])
        sizes = [some.astype(np.int64).prod(axis=1) for some in shapes]
        self.offsets = np.concatenate([np.empty(0, np.int64), *(np.cumsum(some) - some for some in sizes)])
        self.channels = int(self.shapes[0, 2]) if len(self) else 1
        for flat, some in zip(self.flats, sizes, strict=True):
            if flat.shape != (some.sum(),) or flat.dtype != np.uint8 or (self.shapes[:, 2] != self.channels).any():
                raise DataError(
                    f"images of many sizes: found a shard of {flat.size:,} bytes; expected {some.sum():,} bytes of "
                    "images with one number of channels; run prepare again"
                )

    @classmethod
    def open(cls, stems: Sequence[Path]) -> "Ragged":
        """The shards <stem>.npy with <stem>.shapes.npy, memory-mapped. Raises: DataError where the two disagree."""
        flats = [np.load(f"{stem}.npy", mmap_mode="r", allow_pickle=False) for stem in stems]
        return cls(flats, [np.load(f"{stem}.shapes.npy", allow_pickle=False) for stem in stems])

    def __len__(self) -> int:
        return len(self.shapes)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> np.ndarray:
        """One image, uint8 [H, W, C]."""
        start, shape = self.offsets[row], self.shapes[row]
        return self.flats[self.shard[row]][start : start + shape.prod(dtype=np.int64)].reshape(shape)
