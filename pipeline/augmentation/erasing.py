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


def inside(found: Tensor, height: int, width: int) -> Tensor:
    """Whether each pixel lies in its image's rectangle, bool [B, H, W]."""
    down, along = (torch.arange(side, device=found.device) for side in (height, width))
    top, left, bottom, right = found[:, :, None].unbind(dim=1)
    return ((down >= top) & (down < bottom))[:, :, None] & ((along >= left) & (along < right))[:, None, :]


class Erase:
    """uint8 [B, H, W, C] → the same, with a rectangle of each filled."""

    def __init__(self, fill: str, height: int, width: int, channels: int):
        self._fill, self._shape = fill, (height, width, channels)
        count = height * width * channels + NOISES - 1
        self._bytes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8))

    def __call__(self, images: Tensor, found: Tensor, noises: Tensor) -> Tensor:
        """found: int64 [B, 4] as `boxes` gives; noises: int64 [B], below NOISES."""
        height, width, _ = self._shape
        where = inside(found, height, width)[..., None]
        if self._fill == "black":
            return images * ~where
        if self._fill == "mean":
            return torch.where(where, rounded(images.float().mean(dim=1).mean(dim=1))[:, None, None], images)
        self._bytes = self._bytes.to(images.device)
        windows = self._bytes.unfold(0, images[0].numel(), 1)  # one noise begins at each byte: [NOISES, H W C]
        return torch.where(where, windows.index_select(0, noises).view(images.shape), images)
