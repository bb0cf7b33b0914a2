"""RandAugment and TrivialAugment: operations drawn from a list for each image, each with a magnitude.

After Cubuk et al., arXiv 1909.13719, and Müller and Hutter, arXiv 2103.10158 (the space "Wide"). Unlike there, shears
and turns are about an image's middle. Images that drew the same operation are done together.
B examples, K operations an image, H height, W width, C channels in pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.augmentation import colours, filters, geometry
from pipeline.augmentation.layout import in_pieces, on
from pipeline.augmentation.settings import Policy

LEVELS = 30  # the highest magnitude
SMALL = 0.5  # share of a side that TrivialAugment's 32 pixels are at most
LARGEST = {  # by operation, what it does at the highest magnitude: RandAugment, TrivialAugment
    "shear_x": (0.3, 0.99),  # tangents
    "shear_y": (0.3, 0.99),
    "translate_x": (150 / 331, 32.0),  # share of the side; pixels
    "translate_y": (150 / 331, 32.0),
    "rotate": (30.0, 135.0),  # degrees
    "brightness": (0.9, 0.99),  # more or less than a factor of 1
    "saturation": (0.9, 0.99),
    "contrast": (0.9, 0.99),
    "sharpness": (0.9, 0.99),
    "posterize": (4.0, 6.0),  # bits fewer than 8
    "solarize": (256.0, 256.0),  # grey levels that are inverted
    "autocontrast": (0.0, 0.0),
    "equalize": (0.0, 0.0),
    "identity": (0.0, 0.0),
}
MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
Operation = Callable[[Tensor, Tensor], Tensor]
OPERATIONS: dict[str, Operation] = {  # of images and amounts [B]
    "brightness": lambda images, amounts: colours.jitter(images, brightness=1 + amounts),
    "saturation": lambda images, amounts: colours.jitter(images, saturation=1 + amounts),
    "contrast": lambda images, amounts: colours.jitter(images, contrast=1 + amounts),
    "sharpness": lambda images, amounts: filters.sharpened(images, 1 + amounts),
    "posterize": lambda images, amounts: colours.posterized(images, 8 - amounts.abs().round()),
    "solarize": lambda images, amounts: colours.solarized(images, 256 - amounts.abs()),
    "autocontrast": lambda images, _: colours.autocontrasted(images),
    "equalize": lambda images, _: colours.equalized(images),
}


def names(channels: int) -> list[str]:
    """The operations for images of so many channels: grey has no saturation."""
    return [name for name in LARGEST if channels == 3 or name != "saturation"]


def draw(
    policy: Policy, height: int, width: int, channels: int, random: np.random.Generator, count: int
) -> dict[str, np.ndarray]:
    """`operations` int64 [B, K], places in `names`; `amounts` float64 [B, K], signed, in each operation's own unit."""
    wide = policy.kind == "trivial_augment"
    some = 1 if wide else policy.operations
    known = names(channels)
    operations = random.integers(len(known), size=(count, some))
    levels = random.integers(LEVELS + 1, size=(count, some)) if wide else np.full((count, some), policy.magnitude)
    signs = np.where(random.random((count, some)) < 0.5, -1.0, 1.0)
    largest = np.array([_largest(name, wide, height, width) for name in known])
    return {"operations": operations, "amounts": signs * largest[operations] * levels / LEVELS}


def _largest(name: str, wide: bool, height: int, width: int) -> float:
    found = LARGEST[name][wide]
    if not name.startswith("translate"):
        return found
    side = width if name == "translate_x" else height
    return min(found, SMALL * side) if wide else found * side  # pixels


def apply(policy: Policy, images: Tensor, drawn: dict[str, np.ndarray]) -> Tensor:
    """uint8 [B, H, W, C] → the same, after each image's operations in turn."""
    known = names(images.shape[3])
    for operations, amounts in zip(drawn["operations"].T, drawn["amounts"].T, strict=True):
        images = _one(policy, images, np.array(known)[operations], amounts)
    return images


def _one(policy: Policy, images: Tensor, chosen: np.ndarray, amounts: np.ndarray) -> Tensor:
    """One operation of each image: those that move pixels all together, of the others those that are alike."""
    result = images.clone()
    groups: dict[str, np.ndarray] = {name: np.flatnonzero(chosen == name) for name in OPERATIONS}
    groups["move"] = np.flatnonzero(np.isin(chosen, MOVES))
    for name, rows in groups.items():
        if len(rows):
            places = on(images.device, rows)
            change = _change(policy, name, chosen[rows], amounts[rows], images.device)
            result.index_copy_(0, places, in_pieces(images.index_select(0, places), change))
    return result


def _change(
    policy: Policy, name: str, chosen: np.ndarray, amounts: np.ndarray, device: torch.device
) -> Callable[[Tensor, slice], Tensor]:
    """What is done to some of the images of a group."""
    if name == "move":
        return lambda some, place: geometry.affine(some, _moves(chosen[place], amounts[place]), policy.outside)
    held = on(device, amounts)
    return lambda some, place: OPERATIONS[name](some, held[place])


def _moves(chosen: np.ndarray, amounts: np.ndarray) -> geometry.Moves:
    """What each image's one operation is as a move: nothing but that."""

    def of(name: str) -> np.ndarray:
        return np.where(chosen == name, amounts, 0.0)

    shears = np.rad2deg(np.arctan(np.stack([of("shear_x"), of("shear_y")], axis=1)))
    shifts = np.stack([of("translate_x"), of("translate_y")], axis=1)
    return geometry.Moves(of("rotate"), shifts, np.ones(len(amounts)), shears)
