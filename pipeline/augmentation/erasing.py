"""Rectangles of images filled anew, each of a size and at a place of its own.

B examples, H height, W width, C channels in pixels.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.augmentation.layout import rounded

NOISES = 1 << 16
"""Noises to choose from: windows of one row of random bytes."""


def boxes(areas: np.ndarray, ratios: np.ndarray, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rectangles int64 [B, 4] (top, left, bottom, right) of `areas` (shares) and `ratios` (height by width) [B].

    `corners` [B, 2] in 0..1 say where in the room that is left. One that is longer than the image is made as long as
    it, and wider for that.
    """
    area = areas * height * width
    tall = np.clip(np.rint(np.sqrt(area * ratios)), 1, height)
    wide = np.clip(np.rint(area / tall), 1, width)
    tall = np.clip(np.rint(area / wide), 1, height)
    top, left = (np.floor(corners * (np.array([height, width]) - np.stack([tall, wide], axis=1) + 1))).T
    return np.stack([top, left, top + tall, left + wide], axis=1).astype(np.int64)


def masks(found: Tensor, height: int, width: int, channels: int) -> Tensor:
    """All bits of the values inside of each image's rectangle, none of the others: uint8 [B, H, W C]."""
    top, left, bottom, right = found[:, :, None].unbind(dim=1)
    down = torch.arange(height, device=found.device)
    along = torch.arange(width * channels, device=found.device) // channels
    rows, columns = (down >= top) & (down < bottom), (along >= left) & (along < right)
    return rows[:, :, None] * (columns[:, None, :].to(torch.uint8) * 255)


def replaced(images: Tensor, others: Tensor, found: Tensor) -> Tensor:
    """uint8 [B, H, W, C]: `others` (or [B, 1, W, C]) inside of the rectangles int64 [B, 4], `images` elsewhere.

    By bits, which a CPU does several times as fast as by a choice for each value.
    """
    flat = images.flatten(2)
    inside = masks(found, *images.shape[1:])
    return (flat ^ ((flat ^ others.flatten(2)) & inside)).view(images.shape)


class Fill:
    """Fills rectangles of uint8 [B, H, W, C] with noise, with black or with each image's mean, by channel."""

    def __init__(self, fill: str, height: int, width: int, channels: int):
        self._fill = fill
        count = height * width * channels + NOISES - 1
        self._bytes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8))

    def __call__(self, images: Tensor, found: Tensor, noises: Tensor) -> Tensor:
        """found: int64 [B, 4] as `boxes` gives, an empty one fills nothing; noises: int64 [B], below NOISES."""
        return replaced(images, self._of(images, noises), found)

    def _of(self, images: Tensor, noises: Tensor) -> Tensor:
        if self._fill == "noise":
            self._bytes = self._bytes.to(images.device)
            windows = self._bytes.unfold(0, images[0].numel(), 1)  # one noise begins at each byte: [NOISES, H W C]
            return windows.index_select(0, noises).view(images.shape)
        width = images.shape[2]
        if self._fill == "mean":
            return rounded(images.float().mean(dim=1).mean(dim=1))[:, None, None].repeat(1, 1, width, 1)
        return torch.zeros_like(images[:, :1])
