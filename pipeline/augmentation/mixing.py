"""Mixup and cutmix: images of a batch mixed with others of it, and their targets by the same shares.

After Zhang et al., arXiv 1710.09412, and Yun et al., arXiv 1905.04899. Weights and boxes are each example's own.
Partners come from the whole global batch, whichever rank has them, so that any number of ranks mixes alike. Pixels are
mixed as grey levels and rounded, before the network normalises them.
B examples, H height, W width, C channels in pixels, O outputs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline import distributed
from pipeline.augmentation.erasing import replaced
from pipeline.augmentation.layout import each, in_pieces, on, rounded
from pipeline.augmentation.settings import Mixing


@dataclass(frozen=True)
class Mix:
    """What was drawn for each example of a global batch."""

    partners: np.ndarray  # int64 [B], its place in the batch
    own: np.ndarray  # float64 [B], what is left of an example's own target
    weights: np.ndarray  # float64 [B], of its own pixels where all are mixed; 1 where a box is cut
    boxes: np.ndarray  # int64 [B, 4], top, left, bottom, right of what is the partner's; empty where none is


def draw(settings: Mixing, random: np.random.Generator, count: int, height: int, width: int) -> Mix:
    partners = random.permutation(count)
    mixed = random.random(count) < settings.share
    cut = random.random(count) < 0.5 if settings.mixup and settings.cutmix else np.full(count, settings.cutmix > 0)
    shares = {
        name: random.beta(alpha, alpha, count) if alpha else np.ones(count)
        for name, alpha in (("mixup", settings.mixup), ("cutmix", settings.cutmix))
    }
    weights = np.where(mixed & ~cut, shares["mixup"], 1.0)
    sides = np.sqrt(1 - np.where(mixed & cut, shares["cutmix"], 1.0))[:, None] * (height, width)
    middles = random.random((count, 2)) * (height, width)
    limits = np.array([height, width])
    first = np.clip(np.rint(middles - sides / 2), 0, limits)
    last = np.clip(np.rint(middles + sides / 2), 0, limits)
    boxes = np.concatenate([first, last], axis=1).astype(np.int64)
    own = weights - (last - first).prod(axis=1) / (height * width)
    return Mix(partners, own, weights, boxes)


def apply(images: Tensor, targets: Tensor, mix: Mix, examples: slice) -> tuple[Tensor, Tensor]:
    """This rank's images uint8 [B, H, W, C] and targets float32 [B, O], mixed; every rank has to come here.

    examples: this rank's of the global batch.
    """
    device = images.device
    every, every_target = distributed.gathered(images), distributed.gathered(targets)
    partners, boxes, weights, own = (
        on(device, array[examples]) for array in (mix.partners, mix.boxes, mix.weights, mix.own)
    )
    own = own[:, None]
    mixed = own * targets + (1 - own) * every_target.index_select(0, partners)

    def cut(some: Tensor, place: slice) -> Tensor:
        return replaced(some, every.index_select(0, partners[place]), boxes[place])

    def blended(some: Tensor, place: slice) -> Tensor:
        others = every.index_select(0, partners[place])
        return rounded(torch.lerp(others.float(), some.float(), each(weights[place])))

    if (mix.weights < 1).any():  # no example has both
        images = in_pieces(images, blended)
    if (mix.boxes[:, 2:] > mix.boxes[:, :2]).all(axis=1).any():
        images = in_pieces(images, cut)
    return images, mixed
