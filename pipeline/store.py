"""Images of one size in memory-mapped shards, seen as one array uint8 [N, H, W, C].

Each shard is a .npy file that `numpy.load` reads alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


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
