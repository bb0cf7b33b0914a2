"""Brightness, contrast, saturation and hue, each image by an amount of its own, and the tone curves of the policies.

All take and give uint8 [B, H, W, C]: B examples, H height, W width, C channels in pixels, which are 1 of grey or 3 of
red, green and blue. Amounts are float32 [B].
"""

import torch
from torch import Tensor

from pipeline.augmentation.layout import each, interleaved, rounded

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601
LEVELS = 256
BLOCK = 4  # pixels that a matrix mixes at once: a CPU takes a quarter of the time that it takes for one


def jitter(
    images: Tensor,
    brightness: Tensor | None = None,
    contrast: Tensor | None = None,
    saturation: Tensor | None = None,
    hue: Tensor | None = None,
) -> Tensor:
    """The four in this order, rounded once; None is left out.

    Factors are 1 where an image stays as it is; hues are in turns, from -0.5 to 0.5. Grey has neither of the last two.
    """
    pixels = images.float()
    colour = images.shape[3] == 3
    if brightness is not None:
        pixels.mul_(each(brightness)).clamp_(0, 255)
    if contrast is not None:
        means = pixels.mean(dim=1).mean(dim=1)
        middle = means @ _luma(means.device) if colour else means[:, 0]
        pixels.mul_(each(contrast)).add_(each((1 - contrast) * middle)).clamp_(0, 255)
    if colour and saturation is not None:
        pixels = _saturated(pixels, saturation)
    if colour and hue is not None:
        return interleaved(_turned(pixels.clamp_(0, 255).permute(0, 3, 1, 2).contiguous(), hue))
    return rounded(pixels)


def _saturated(pixels: Tensor, factors: Tensor) -> Tensor:
    """float32 [B, H, W, 3], each colour mixed with its grey: one product with a matrix for a few pixels at once."""
    count, height, width, _ = pixels.shape
    some = BLOCK if height * width % BLOCK == 0 else 1
    own = torch.eye(3 * some, device=pixels.device)
    greys = torch.kron(torch.eye(some, device=pixels.device), _luma(pixels.device)[:, None].expand(3, 3))
    mixing = factors[:, None, None] * (own - greys) + greys
    return torch.bmm(pixels.reshape(count, -1, 3 * some), mixing).view(pixels.shape)


def _luma(device: torch.device) -> Tensor:
    """float32 [3], filled on the device: a copy from the CPU would be waited for."""
    found = torch.empty(3, device=device)
    for k, share in enumerate(LUMA):
        found[k].fill_(share)
    return found


def _turned(pixels: Tensor, hue: Tensor) -> Tensor:
    """float32 [B, 3, H, W] of colours whose hue has been turned.

    A colour is its largest part, less the chroma times a share that falls and rises with the hue: of the three parts
    by the same curve, a third of a turn apart.
    """
    red, green, blue = pixels.unbind(dim=1)
    most = torch.maximum(torch.maximum(red, green), blue)
    chroma = most - torch.minimum(torch.minimum(red, green), blue)
    by = chroma.clamp(min=1e-6)
    place = torch.where(most == green, (blue - red) / by + 2, (red - green) / by + 4)  # sixths of a turn from red
    place = torch.where(most == red, (green - blue) / by, place).add_(6 * hue[:, None, None])
    found = torch.empty_like(pixels)
    for k, middle in enumerate((3.0, 5.0, 1.0)):  # where red, green and blue are least
        away = place - middle
        away.sub_((away / 6).round_().mul_(6)).abs_()
        torch.addcmul(most, chroma, away.neg_().add_(2).clamp_(0, 1), value=-1, out=found[:, k])
    return found


def posterized(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest bits of each value; `bits` are whole, 0 to 8."""
    return images & each((LEVELS - 2 ** (8 - bits)).to(torch.uint8))


def solarized(images: Tensor, thresholds: Tensor) -> Tensor:
    """Inverts values from a threshold on, 0 to 256."""
    below = each(thresholds.ceil() - 1).to(torch.int16) - images.to(torch.int16)
    return images ^ (below >> 15).to(torch.uint8)  # the sign, as 255 or 0


def autocontrasted(images: Tensor) -> Tensor:
    """Each channel stretched from 0 to 255; one of a single value stays."""
    low, high = (found.float() for found in (images.amin(dim=1).amin(dim=1), images.amax(dim=1).amax(dim=1)))
    flat = high == low
    scale = torch.where(flat, 1.0, 255 / (high - low).clamp(min=1))
    start = torch.where(flat, 0.0, low * scale)
    factors, terms = (
        found.repeat(1, images.shape[2])[:, None] for found in (scale, start)
    )  # [B, 1, W C], as in memory
    return rounded(images.flatten(2).float().mul_(factors).sub_(terms)).view(images.shape)


def equalized(images: Tensor) -> Tensor:
    """Each channel's values spread so that all are about as frequent, as Pillow does."""
    count, height, width, channels = images.shape
    tables = count * channels
    start = torch.arange(tables, dtype=torch.int32, device=images.device) * LEVELS
    places = (images.int() + start.view(count, 1, 1, channels)).view(-1)
    found = _counts(places, tables * LEVELS).view(tables, LEVELS)
    values = torch.arange(LEVELS, device=images.device)
    last = torch.where(found > 0, values, 0).amax(dim=1, keepdim=True)
    step = (height * width - found.gather(1, last)) // (LEVELS - 1)
    before = found.cumsum(dim=1) - found
    spread = ((before + step // 2) // step.clamp(min=1)).clamp(max=LEVELS - 1)
    table = torch.where(step > 0, spread, values).to(torch.uint8)
    return table.view(-1).index_select(0, places).view(images.shape)


def _counts(places: Tensor, bins: int) -> Tensor:
    """How often each place occurs, int64 [bins]; on a GPU without waiting for it, as bincount would."""
    if places.device.type == "cpu":
        return torch.bincount(places, minlength=bins)
    ones = torch.ones_like(places, dtype=torch.int64)
    return torch.zeros(bins, dtype=torch.int64, device=places.device).scatter_add_(0, places.long(), ones)
