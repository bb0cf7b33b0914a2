"""Where an image is cut, and its resize by Pillow's antialiased bicubic in an order of passes that is stated here.

Pillow's releases choose the order differently, and an 8-bit rounding stands between the passes. resampling.py gives the
same bits faster. H height, W width, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["crop", "pad", "stretch", "none"]
Channels = Literal["grey", "rgb"]


@dataclass(frozen=True)
class Frame:
    """Part of an image, in its own pixels, and the pixels that part gets."""

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int

    @property
    def ratio(self) -> float:
        """How many of the image's pixels make one, along the side where that is fewer."""
        return min((self.right - self.left) / self.width, (self.bottom - self.top) / self.height)


Resize = Callable[[Image.Image | np.ndarray, Frame], np.ndarray]


def frame(width: float, height: float, size: int, fit: Fit) -> Frame:
    """The centre square for `crop`, all of the image otherwise; `pad` keeps the proportions."""
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return Frame(left, top, left + side, top + side, size, size)
    if fit == "pad":
        scale = size / max(width, height)
        return Frame(0, 0, width, height, max(1, round(width * scale)), max(1, round(height * scale)))
    if fit == "stretch":
        return Frame(0, 0, width, height, size, size)
    return Frame(0, 0, width, height, round(width), round(height))


def across_first(width: int, height: int, to: Frame) -> bool:
    """Pillow 13's rule: the height goes first where it shrinks by more than twice as many pixels as the width."""
    shrinks = height - to.height
    return not (shrinks > 0 and shrinks > 2 * (width - to.width))


def resize(image: Image.Image | np.ndarray, to: Frame) -> np.ndarray:
    """uint8 [H, W, C], from mode L or RGB or uint8 [H, W, C]."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    cubic = Image.Resampling.BICUBIC
    for across in (True, False) if across_first(image.width, image.height, to) else (False, True):
        if across:
            image = image.resize((to.width, image.height), cubic, box=(to.left, 0, to.right, image.height))
        else:
            image = image.resize((image.width, to.height), cubic, box=(0, to.top, image.width, to.bottom))
    return np.asarray(image).reshape(to.height, to.width, -1)


def finished(pixels: np.ndarray, size: int, how: Fit, channels: Channels) -> np.ndarray:
    """With as many channels as are wanted, and in the middle of black where `how` is pad."""
    if channels == "rgb" and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    height, width, depth = pixels.shape
    if how != "pad" or (height, width) == (size, size):
        return pixels
    out = np.zeros((size, size, depth), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    out[top : top + height, left : left + width] = pixels
    return out


def fit(image: Image.Image, size: int, how: Fit, channels: Channels, resize: Resize = resize) -> np.ndarray:
    """uint8 [size, size, C]: antialiased bicubic, the centre cropped, padded with black, or stretched."""
    mode = "L" if channels == "grey" else "RGB"
    if image.mode != mode and not (image.mode == "L" and mode == "RGB"):
        image = image.convert(mode)
    return finished(resize(image, frame(image.width, image.height, size, how)), size, how, channels)
