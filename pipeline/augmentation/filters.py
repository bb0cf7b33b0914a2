"""Blur and sharpness, each image by an amount of its own.

All take and give uint8 [B, H, W, C]: B examples, H height, W width, C channels in pixels.
"""

import torch
from torch import Tensor

from pipeline.augmentation.layout import each, rounded

REACH = 3.0  # standard deviations of the Gaussian that are counted, to each side


def blurred(images: Tensor, sigmas: Tensor, largest: float) -> Tensor:
    """Under a Gaussian of `sigmas` [B] pixels, at most `largest`, along one side and then the other.

    Edges are reflected.
    """
    pixels = images.float()
    for side in (1, 2):
        reach = min(max(1, round(REACH * largest)), images.shape[side] - 1)
        weights = torch.exp(-0.5 * (torch.arange(reach + 1, device=sigmas.device) / sigmas[:, None]) ** 2)
        weights /= 2 * weights.sum(dim=1, keepdim=True) - 1
        pixels = _along(pixels, side, weights)
    return rounded(pixels)


def _along(pixels: Tensor, side: int, weights: Tensor) -> Tensor:
    """Each pixel times weight 0, and those k pixels before and behind it times weight k, of [B, reach + 1]."""
    length, reach = pixels.shape[side], weights.shape[1] - 1
    first, last = pixels.narrow(side, 1, reach), pixels.narrow(side, length - 1 - reach, reach)
    wide = torch.cat([first.flip(side), pixels, last.flip(side)], dim=side)
    found = pixels * each(weights[:, 0])
    for k in range(1, reach + 1):
        pair = wide.narrow(side, reach - k, length) + wide.narrow(side, reach + k, length)
        found.addcmul_(pair, each(weights[:, k]))
    return found


def sharpened(images: Tensor, factors: Tensor) -> Tensor:
    """0: smoothed, 1: as it was, 2: sharper. The outermost pixels stay.

    After Pillow's SMOOTH, which weighs a pixel five times as much as each of the eight around it.
    """
    if min(images.shape[1:3]) < 3:
        return images
    pixels = images.float()
    rows = pixels[:, 2:] + pixels[:, 1:-1]
    rows += pixels[:, :-2]
    inner = pixels[:, 1:-1, 1:-1]
    smooth = rows[:, :, 2:] + rows[:, :, 1:-1]
    smooth += rows[:, :, :-2]
    smooth.add_(inner, alpha=4).mul_(each((1 - factors) / 13))
    inner.mul_(each(factors)).add_(smooth)
    return rounded(pixels)
