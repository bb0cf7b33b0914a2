"""What augmentation does to eight examples, drawn by the code that trains: a line of originals above its epochs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline import batches, distributed
from pipeline.augmentation.batches import Augmentation
from pipeline.examples import ImageInputs, Split
from pipeline.fit.feed import Feed
from pipeline.fit.settings import Config
from pipeline.fit.stepping import LARGE
from pipeline.store import Ragged

NAME = "augmented.png"
EXAMPLES, EPOCHS = 8, 4
SIDE, GAP = 80, 4  # pixels of a picture, and between two


def draw(train: Split, inputs: ImageInputs, config: Config) -> np.ndarray:
    """uint8 [1 + EPOCHS, examples, H, W, C]: examples as they are, then what the first epochs make of them.

    They are taken from all over the split, so that mixing finds different partners, and trained on as a split of
    their own.
    """
    rows = np.unique(np.linspace(0, len(train) - 1, EXAMPLES).astype(np.int64))
    few = _of(train, rows)
    with distributed.alone():
        return np.stack([batches.read(train, rows, inputs), *_epochs(few, inputs, config)])


def _epochs(few: Split, inputs: ImageInputs, config: Config) -> Iterator[np.ndarray]:
    feed = Feed(few, inputs, replace(config, sampling="natural"), len(few), ())
    augmentation = Augmentation(config.images, config.mixing, inputs)
    for epoch in range(EPOCHS):
        for batch in feed.epoch(epoch):  # one
            batch.random.integers(LARGE)  # the seed of the network's own draws, which a step takes first
            images, targets = torch.from_numpy(batch.arrays), torch.from_numpy(few.targets[batch.rows])
            yield augmentation(images, targets, batch.random, batch.count)[0].numpy().copy()


def _of(split: Split, rows: np.ndarray) -> Split:
    """Some examples as a split of their own."""
    assert split.images is not None
    if isinstance(split.images, Ragged):
        some = [split.images[row] for row in rows.tolist()]
        flat = np.concatenate([image.reshape(-1) for image in some])
        images: np.ndarray | Ragged = Ragged([flat], [np.array([image.shape for image in some], np.int32)])
    else:
        images = np.ascontiguousarray(split.images[rows])
    return Split(split.labels[rows], split.targets[rows], images=images)


def write(lines: np.ndarray, out: Path) -> None:
    """One PNG; the originals stand above a gap of their own."""
    from PIL import Image

    count, width = lines.shape[:2]
    step = SIDE + GAP
    sheet = Image.new("RGB", (width * step - GAP, count * step + GAP), "white")
    for row, line in enumerate(lines):
        for column, pixels in enumerate(line):
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
            scale = SIDE / max(picture.size)
            size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            small = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)
            left, top = column * step + (SIDE - size[0]) // 2, row * step + (2 * GAP if row else 0)
            sheet.paste(small, (left, top + (SIDE - size[1]) // 2))
    sheet.save(out, optimize=True)
