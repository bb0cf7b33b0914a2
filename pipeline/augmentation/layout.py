"""Between whole-number pixels, channels last, and what the operations compute in.

B examples, H height, W width, C channels in pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

CACHED = 600_000
"""Values of the images that a CPU does at once: what is computed of them then stays in its second cache."""


def planar(images: Tensor) -> Tensor:
    """uint8 [B, H, W, C] → float32 [B, C, H, W], each channel by itself in memory."""
    return images.permute(0, 3, 1, 2).contiguous().float()


def interleaved(pixels: Tensor) -> Tensor:
    """float32 [B, C, H, W] → uint8 [B, H, W, C], rounded; writes into `pixels`."""
    return torch.stack(rounded(pixels).unbind(1), dim=3)


def rounded(pixels: Tensor) -> Tensor:
    """Clipped to 0..255 and rounded to uint8; writes into `pixels`.

    By way of int16, which a CPU vectorises: a third of the time.
    """
    return pixels.add_(0.5).clamp_(0, 255).to(torch.int16).to(torch.uint8)


def each(amounts: Tensor) -> Tensor:
    """[B] → [B, 1, 1, 1]."""
    return amounts[:, None, None, None]


def on(device: torch.device, array: np.ndarray) -> Tensor:
    """What was drawn, on the device, floats as float32; a GPU is not waited for."""
    kind = np.float32 if array.dtype.kind == "f" else array.dtype
    held = torch.from_numpy(np.ascontiguousarray(array, dtype=kind))
    return held.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else held


def in_pieces(images: Tensor, change: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """`change` of a few examples after the other, told which; on a GPU of all at once."""
    count = len(images)
    size = max(1, CACHED // images.shape[1:].numel()) if images.device.type == "cpu" else max(1, count)
    places = [slice(first, min(first + size, count)) for first in range(0, max(1, count), size)]
    found = [change(images[place], place) for place in places]
    return torch.cat(found) if len(found) > 1 else found[0]
