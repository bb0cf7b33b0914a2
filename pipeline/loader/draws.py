"""What is drawn for each example of a batch: where it is cut, how far it is moved, how it is turned.

An epoch's draws come from one generator in the order of its batches, and each batch takes the same number of them
whatever it holds: they depend on seed, epoch and position alone, never on threads, ranks or where a run was resumed.
B examples of a batch, H and W the height and width of each.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.config import setting

ATTEMPTS = 10
"""Shapes drawn for a crop, the first that fits is taken: as torchvision does."""


@dataclass(frozen=True)
class Crop:
    """A random part of each image, resized to the whole: the rule of torchvision's RandomResizedCrop."""

    smallest: float = setting(0.08, above=0, high=1, unit="share of an image's area")
    largest: float = setting(1.0, above=0, high=1, unit="share of an image's area")
    ratio: float = setting(4 / 3, low=1, high=100, unit="longest side of the part by its shortest")

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise ValueError(f"smallest: found {self.smallest:g}; expected at most largest ({self.largest:g})")


@dataclass(frozen=True)
class Augmentation:
    flips: Literal["none", "horizontal", "both"] = "none"
    shift: float = 0.0  # the longest, as a share of the side
    crop: Crop | None = None


@dataclass(frozen=True)
class Draws:
    """How each image becomes its place in the batch: moved, then cut, then resized, then turned."""

    boxes: np.ndarray  # int64 [B, 4]: top, left, height, width
    shifts: np.ndarray  # int64 [B, 2]: rows, columns
    turned: np.ndarray  # bool [B, 2]: upside down, left to right

    def part(self, first: int, last: int) -> "Draws":
        return Draws(self.boxes[first:last], self.shifts[first:last], self.turned[first:last])


def draw(augmentation: Augmentation, random: np.random.Generator, sizes: np.ndarray, aspect: float | None) -> Draws:
    """The draws for images of `sizes`, int64 [B, 2]; `aspect` as in `whole`."""
    count, shift = len(sizes), augmentation.shift
    down = random.uniform(-shift, shift, count) * sizes[:, 0]
    right = random.uniform(-shift, shift, count) * sizes[:, 1]
    turned = random.random((count, 2)) < 0.5
    turned &= [augmentation.flips == "both", augmentation.flips != "none"]
    boxes = whole(sizes, aspect) if augmentation.crop is None else _cut(augmentation.crop, random, sizes)
    return Draws(boxes, np.rint(np.stack([down, right], axis=1)).astype(np.int64), turned)


def still(sizes: np.ndarray, aspect: float | None) -> Draws:
    """No draw at all: each image as it is."""
    return Draws(whole(sizes, aspect), np.zeros((len(sizes), 2), np.int64), np.zeros((len(sizes), 2), bool))


def whole(sizes: np.ndarray, aspect: float | None) -> np.ndarray:
    """Boxes of the whole images, or of the largest centred part whose height by width is `aspect`."""
    height, width = sizes[:, 0], sizes[:, 1]
    if aspect is not None:
        height = np.clip(np.rint(width * aspect), 1, height).astype(np.int64)
        width = np.clip(np.rint(height / aspect), 1, width).astype(np.int64)
    return np.stack([(sizes[:, 0] - height) // 2, (sizes[:, 1] - width) // 2, height, width], axis=1)


def _cut(crop: Crop, random: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    """Random boxes int64 [B, 4]; where none of the shapes drawn fits, the centred one of the nearest allowed shape."""
    from pipeline.loader import kernel

    boxes = np.empty((len(sizes), 4), np.int64)
    shapes, corners = random.random((len(sizes), ATTEMPTS, 2)), random.random((len(sizes), 2))
    kernel.cut(np.ascontiguousarray(sizes), shapes, corners, crop.smallest, crop.largest, crop.ratio, boxes)
    return boxes
