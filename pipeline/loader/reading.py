"""The training loader for images: shuffled batches cut, resized, shifted and turned by a compiled kernel.

The order and every draw come from the seed and the epoch's number, so that batches are the same bits for any number
of threads and batches read ahead, for one rank or many, and for a run resumed at any step.
N examples, B examples of a batch, Y height, X width, C channels in pixels.
"""

import itertools
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from pipeline import batches
from pipeline.loader.ahead import ahead
from pipeline.loader.draws import Augmentation, Draws, draw, still
from pipeline.loader.layout import Images, Layout

AHEAD = 2
MOST_THREADS = 8
STILL = Augmentation()
WORTH_A_THREAD = 1 << 20
"""Bytes of a batch for each thread that fills it: less costs more to hand over than to fill."""


@dataclass(frozen=True)
class Scaling:
    """Float batches: (pixel / 255 - mean) / std, both [C]."""

    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True)
class Batch:
    rows: np.ndarray  # int64 [B], rising: this rank's part
    images: np.ndarray  # uint8 or float32 [B, Y, X, C]; holds until the next batch is asked for


def threads() -> int:
    """Threads that fill batches where none are given: one core is left to who reads them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, max(1, cores - 1))


class Loader:
    """Batches of `images`, resized to `size` (height, width) where that is given, uint8 unless `scaling` is.

    `batch_size` is that of the global batch, which `world` ranks share: rank r gets the r-th part of its rows.
    `order` draws the rows of an epoch, always as many; without it every image comes once.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        augmentation: Augmentation = STILL,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        scaling: Scaling | None = None,
        rank: int = 0,
        world: int = 1,
        filling: int | None = None,
        ahead: int = AHEAD,
        pinned: bool = False,
        order: batches.Order | None = None,
    ):
        self._layout = Layout(images)
        wanted = size or self._layout.size
        assert wanted is not None, "images of many sizes need one to become"
        self.size = wanted
        self.batch_size, self.augmentation, self.seed = batch_size, augmentation, seed
        self.rank, self.world = rank, world
        self._aspect = None if self._layout.size == wanted else wanted[0] / wanted[1]
        self._threads, self._ahead, self._pinned = filling or threads(), ahead, pinned
        self._type = np.dtype(np.uint8 if scaling is None else np.float32)
        self._scale, self._bias = _line(scaling, self._layout.channels)
        self._order = order or (lambda random: random.permutation(self._layout.count))
        self._count = len(order(np.random.default_rng(0))) if order else self._layout.count
        self._number, self._step = 0, 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-self._count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """What is left of the epoch that the loader stands in; the next call begins the next one."""
        if self._step >= len(self):
            self._number, self._step = self._number + 1, 0
        with closing(self.epoch(self._number, self._step)) as found:
            for batch in found:
                self._step += 1
                yield batch

    def state(self) -> dict[str, int]:
        """The position: the epoch and the batches of it that were given."""
        return {"epoch": self._number, "step": self._step}

    def resume(self, state: dict[str, int]) -> None:
        """Stands where `state` was taken, of a loader of the same images and settings."""
        self._number, self._step = state["epoch"], state["step"]

    def epoch(self, number: int, step: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from a step on; its threads end with it, or when it is closed."""
        first = -(-min(self.batch_size, self._count) // self.world)
        buffers = [self._buffer(first) for _ in range(self._ahead + 1)]
        with ThreadPoolExecutor(self._threads, "danlu-fill") as pool:  # starts its threads when there is work for them
            yield from ahead(self._jobs(number, step), lambda job, buffer: self._fill(job, buffer, pool), buffers)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Any rows, in any order, without augmentation, in an array of their own."""
        draws = still(self._layout.sizes(rows), self._aspect)
        return self._fill((rows, draws), self._buffer(len(rows), pinned=False)).images

    def _jobs(self, number: int, step: int) -> Iterator[tuple[np.ndarray, Draws]]:
        """This rank's rows of each batch, and what is drawn for them; what is before `step` is drawn alone."""
        _, random = batches.begin(self.seed, number)
        for k, rows in enumerate(batches.dealt(self._order(random), self.batch_size)):
            draws = draw(self.augmentation, random, self._layout.sizes(rows), self._aspect)
            if k >= step:
                mine = batches.part(len(rows), self.rank, self.world)
                yield rows[mine], draws.part(mine.start, mine.stop)

    def _buffer(self, count: int, pinned: bool | None = None) -> np.ndarray:
        shape = (count, *self.size, self._layout.channels)
        if self._pinned if pinned is None else pinned:
            import torch

            kind = torch.uint8 if self._type == np.uint8 else torch.float32
            return torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        return np.empty(shape, self._type)

    def _fill(self, job: tuple[np.ndarray, Draws], buffer: np.ndarray, pool: Executor | None = None) -> Batch:
        rows, draws = job
        out = buffer[: len(rows)]
        addresses, sizes = self._layout.addresses(rows), self._layout.sizes(rows)
        parts = max(1, min(self._threads, out.nbytes // WORTH_A_THREAD, len(rows)))
        cuts = [len(rows) * part // parts for part in range(parts + 1)]
        pieces = [slice(first, last) for first, last in itertools.pairwise(cuts)]

        def one(piece: slice) -> None:
            self._kernel(addresses[piece], sizes[piece], draws.part(piece.start, piece.stop), out[piece])

        list((pool.map if pool and parts > 1 else map)(one, pieces))
        return Batch(rows, out)

    def _kernel(self, addresses: np.ndarray, sizes: np.ndarray, draws: Draws, out: np.ndarray) -> None:
        from pipeline.loader import kernel  # numba takes a third of a second to import

        if self._type == np.uint8 and self.augmentation.crop is None and self._layout.size == self.size:
            kernel.move(addresses, draws.shifts, draws.turned, out)
        else:
            kernel.resize(
                addresses, np.ascontiguousarray(sizes), draws.boxes, draws.shifts, draws.turned,
                self._scale, self._bias, out,
            )  # fmt: skip


def _line(scaling: Scaling | None, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and bias [C] with which a pixel becomes scale · pixel + bias; without a scaling, a half for rounding."""
    if scaling is None:
        return np.ones(channels, np.float32), np.full(channels, 0.5, np.float32)
    mean, std = np.asarray(scaling.mean, np.float64), np.asarray(scaling.std, np.float64)
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
