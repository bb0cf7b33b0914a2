"""What training reads, batch by batch: this rank's part of each batch of an epoch.

An epoch's order comes from the seed and its number; what is drawn for a batch from those and the batch's number:
neither depends on threads, ranks or where a run was resumed.
B examples of this rank's part of a batch, T tokens, H height, W width, C channels in pixels.
"""

import functools
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from pipeline import batches, distributed, sampling
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, Split
from pipeline.fit import rewording
from pipeline.fit.rewording import Words
from pipeline.fit.settings import Config
from pipeline.loader.draws import Augmentation
from pipeline.loader.reading import Loader, threads
from pipeline.network import Inputs


@dataclass(frozen=True)
class Batch:
    rows: np.ndarray  # int64 [B]
    arrays: np.ndarray  # uint8 [B, H, W, C] or int64 [B, T]; holds until the next batch is asked for
    count: int  # examples of all ranks' parts together
    random: np.random.Generator  # for what is still to be drawn of this batch


def order(config: Config, train: Split, names: Sequence[str]) -> batches.Order | None:
    """Draws an epoch's rows as `config.sampling` says; None where that is each of them once.

    Raises: ConfigError for the weight of an unknown class.
    """
    if config.sampling == "natural":
        return None
    try:
        weights = config.sampling if isinstance(config.sampling, str) else sampling.checked(config.sampling, names)
    except ValueError as error:
        raise ConfigError(f"train.sampling.{error}") from None
    return functools.partial(sampling.epoch, train.labels, len(names), weights)


class Feed:
    """`seen` examples and `steps` batches an epoch, of `size` examples at most."""

    def __init__(
        self,
        train: Split,
        inputs: Inputs,
        config: Config,
        size: int,
        names: Sequence[str],
        *,
        pinned: bool = False,
        words: Words | None = None,
    ):
        self.words = words  # which texts that are augmented need
        self.train, self.inputs, self.config, self.size = train, inputs, config, size
        self._order = order(config, train, names)
        self.seen = len(self._order(np.random.default_rng(0))) if self._order else len(train)
        self.steps = -(-self.seen // size)
        self._loader = self._of_images(pinned) if isinstance(inputs, ImageInputs) else None

    def _of_images(self, pinned: bool) -> Loader:
        config, inputs = self.config, self.inputs
        assert self.train.images is not None and isinstance(inputs, ImageInputs)
        return Loader(
            self.train.images,
            batch_size=self.size,
            augmentation=Augmentation(config.images.flips, config.images.shift, config.images.crop),
            seed=config.seed,
            size=(inputs.height, inputs.width),
            rank=distributed.rank(),
            world=distributed.world(),
            filling=config.filling or max(1, threads() // distributed.world()),
            pinned=pinned,
            order=self._order,
        )

    def epoch(self, number: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from a step on."""
        _, random = batches.begin(self.config.seed, number)
        if self._loader is None:
            whole = batches.shuffled(self.train, self.inputs, self.size, random, self._order)
            for k in range(first, len(whole)):
                yield self._of_texts(whole[k], self._random(number, k))
            return
        counts = [len(rows) for rows in np.array_split(np.empty(self.seen), self.steps)]
        with closing(self._loader.epoch(number, first)) as found:
            for k, batch in enumerate(found, first):
                yield Batch(batch.rows, batch.images, counts[k], self._random(number, k))

    def _random(self, epoch: int, batch: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, epoch, batch])

    def _of_texts(self, rows: np.ndarray, random: np.random.Generator) -> Batch:
        ids = batches.read(self.train, rows, self.inputs)
        if self.words:
            assert not isinstance(self.inputs, ImageInputs)
            ids = rewording.reworded(ids, rows, self.words, self.config.texts, random, self.inputs.length)
        if self.config.texts.unknown:
            ids = batches.blanked(ids, random, self.config.texts.unknown)
        mine = distributed.part(len(rows))
        return Batch(rows[mine], ids[mine], len(rows), random)
