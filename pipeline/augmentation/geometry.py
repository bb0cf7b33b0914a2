"""Images turned, moved, scaled and sheared about their middle, each by amounts of its own, in one bilinear resample.

B examples, H height, W width, C channels in pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.augmentation.layout import interleaved, on, planar
from pipeline.augmentation.settings import Outside

PADDING = {"edge": "border", "black": "zeros", "reflection": "reflection"}


@dataclass(frozen=True)
class Moves:
    """What is done to each image: sheared, turned, scaled, then moved."""

    angles: np.ndarray  # degrees, clockwise, [B]
    shifts: np.ndarray  # pixels to the right and down, [B, 2]
    scales: np.ndarray  # [B]; 2: all is twice as long
    shears: np.ndarray  # degrees along x and along y, [B, 2]


def inverse(moves: Moves) -> np.ndarray:
    """Where each output pixel comes from, in pixels from the middle: float64 [B, 2, 3]."""
    turn = np.deg2rad(moves.angles)
    right, down = np.tan(np.deg2rad(moves.shears)).T
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    one = np.ones_like(turn)
    sheared = np.array([[one, -right], [-down, one + right * down]])  # along x, then along y
    forth = moves.scales * np.einsum("ijb,jkb->ikb", turned, sheared)
    back = np.linalg.inv(forth.transpose(2, 0, 1))
    return np.concatenate([back, -back @ moves.shifts[:, :, None]], axis=2)


def affine(images: Tensor, moves: Moves, outside: Outside = "edge") -> Tensor:
    """uint8 [B, H, W, C] → the same, moved; what comes from outside of an image is as `outside` says."""
    grid = _grid(on(images.device, inverse(moves)), images.shape[1], images.shape[2])
    sampled = functional.grid_sample(planar(images), grid, "bilinear", PADDING[outside], align_corners=False)
    return interleaved(sampled)


def _grid(back: Tensor, height: int, width: int) -> Tensor:
    """[B, H, W, 2] of [B, 2, 3]: places from -1 to 1, edge to edge; torch's affine_grid takes three times as long."""
    grid = back.new_empty(len(back), height, width, 2)
    along, down = (torch.arange(n, device=back.device) - (n - 1) / 2 for n in (width, height))
    for k, side in enumerate((width, height)):
        line = back[:, k] * (2 / side)
        torch.add((line[:, :1] * along)[:, None, :], (line[:, 1:2] * down + line[:, 2:])[:, :, None], out=grid[..., k])
    return grid
