"""Whatever colours a file has, as 8 bits of grey or sRGB: profiles, transparency, wide numbers, CMYK and palettes."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageColor

from pipeline.features.reading import Undecodable

STRIP = 256  # rows
PROFILE = 4 * 2**20  # bytes: those of printing inks have 0.5 to 2 million
NEAR = 2  # levels: a profile that moves no colour further is sRGB
SPACES = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}
MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
SIGNED = [level ^ 128 for level in range(256)]  # -128..127, which Pillow shows as two's complement
BITS, WHITE, SAMPLES = 258, 262, 339  # tags of TIFF 6.0: bits a sample, which end is white, signed or not
Convert = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Greys:
    """What a TIFF says of its grey numbers and Pillow does not act upon."""

    bits: int = 16
    signed: bool = False
    white: bool = False  # 0 is white


def image(pixels: Image.Image | np.ndarray, profile: bytes = b"") -> Image.Image:
    """Of uint8 [H, W, C]: mode L, RGB or CMYK."""
    if isinstance(pixels, Image.Image):
        return pixels
    channels = pixels.shape[-1]
    out = Image.frombuffer(
        {1: "L", 3: "RGB", 4: "CMYK"}[channels],
        pixels.shape[1::-1],
        np.ascontiguousarray(pixels),
        "raw",
        {1: "L", 3: "RGB", 4: "CMYK"}[channels],
        0,
        1,
    )
    if profile:
        out.info["icc_profile"] = profile
    return out


def grey(pixels: Image.Image | np.ndarray) -> Image.Image | np.ndarray:
    """With one channel."""
    if isinstance(pixels, np.ndarray):
        return pixels if pixels.shape[-1] == 1 else image(pixels).convert("L")
    return pixels.convert("L")


def check(background: str) -> None:
    """Raises: ValueError unless it is a colour."""
    try:
        ImageColor.getrgb(background)
    except ValueError:
        raise ValueError(f"background: found {background!r}; expected a colour's name, or #rrggbb") from None


def greys(image: Image.Image) -> Greys | None:
    """As the file says, before a turn loses it; None for all but TIFF.

    Raises: Undecodable where Pillow gives false numbers: it takes libtiff's in this machine's order for the file's.
    """
    if image.format != "TIFF":
        return None
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    if image.mode in ("I", "F") and tags.prefix == b"MM" and image.info["compression"] != "raw":
        raise Undecodable("unsupported TIFF", f"big-endian, compressed and of mode {image.mode}; store it uncompressed")
    white = image.mode in ("I;16", "F") and tags.get(WHITE, 0) == 0  # Pillow inverts up to 8 bits
    return Greys(tags.get(BITS, (1,))[0], tags.get(SAMPLES, (1,))[0] == 2, white)


def eight_bits(image: Image.Image, background: str, conversions: list[str], greys: Greys | None = None) -> Image.Image:
    """Mode L or RGB, in sRGB. Raises: Undecodable when nothing is visible or a pixel is not finite."""
    greys = greys or Greys(signed=image.mode == "I")
    profile = image.info.get("icc_profile") or b""
    # One name for all steps, so that no step's input outlives it: 40 million pixels are 160 MB a copy.
    image = _opaque(image, background, conversions)
    if image.mode == "CMYK":
        image = in_srgb(image, profile, conversions)
        profile = b""
    if image.mode not in ("L", "RGB"):
        conversions.append(f"{image.mode}_to_8bit")
        image = _plain(image, greys)
    elif image.mode == "L" and greys.signed:
        conversions.append("signed_to_8bit")
        image = image.point(SIGNED)
    return in_srgb(image, profile, conversions)


def in_srgb(image: Image.Image, profile: bytes, conversions: list[str]) -> Image.Image:
    """An image of mode L, RGB or CMYK; a broken profile, or one for other colours, is dropped."""
    if not profile:
        return image
    try:
        convert = conversion(profile, image.mode)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # littlecms raises whatever its parser met; the pixels are whole
        conversions.append("profile_dropped")
        return image
    if convert is None:
        return image
    conversions.append("to_srgb")
    return convert(image)


def changes(profile: bytes, mode: str) -> bool:
    """Whether a profile moves any colour of an image of that mode; a broken one does not."""
    try:
        return bool(profile) and conversion(profile, mode) is not None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # as in in_srgb
        return False


@lru_cache(maxsize=16)
def conversion(profile: bytes, mode: str) -> Convert | None:
    """What brings an image of that mode to sRGB, or None for nothing. Raises: whatever a bad profile meets."""
    if len(profile) > PROFILE:
        raise ValueError(f"a profile of {len(profile):,} bytes")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space not in SPACES[mode]:
        raise ValueError(f"a profile of {space} on {mode}")
    transform: Any = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), MODES[space], "RGB")
    if mode == "L":
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        table = np.asarray(transform.apply(ramp.convert(MODES[space])).convert("L")).ravel()
        near = np.abs(table.astype(int) - np.arange(256)).max() <= NEAR
        return None if near else lambda image: image.point(table.tolist())
    if mode == "RGB":
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
        moved = np.asarray(transform.apply(Image.fromarray(cube)))
        if np.abs(moved.astype(int) - cube).max() <= NEAR:
            return None
    return lambda image: transform.apply(image)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, copy of the next 256 rows): what works strip by strip needs no second whole copy."""
    for top in range(0, image.height, STRIP):
        yield top, image.crop((0, top, image.width, min(top + STRIP, image.height)))


def _opaque(image: Image.Image, background: str, conversions: list[str]) -> Image.Image:
    """Composited on the background where the file has transparency. Raises: Undecodable when nothing is visible."""
    if not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):  # one transparent level of 16-bit grey: the conversion would clip the others
        image.info.pop("transparency", None)
        return image
    colour = ImageColor.getrgb(background)[:3]
    grey = image.mode in ("1", "L", "LA", "La") and len(set(colour)) == 1
    mode, fill = ("L", colour[0]) if grey else ("RGB", colour)
    out, lowest, highest = Image.new(mode, image.size, fill), 255, 0
    for top, strip in _strips(image):
        full = strip.convert("RGBA")
        alpha = full.getchannel("A")
        extrema: Any = alpha.getextrema()
        lowest, highest = min(lowest, extrema[0]), max(highest, extrema[1])
        out.paste(full.convert(mode), (0, top), alpha)
    if highest == 0:
        raise Undecodable("fully transparent")
    if lowest < 255:
        conversions.append(f"on_{background}")
    return out


def _plain(image: Image.Image, greys: Greys) -> Image.Image:
    """Mode L or RGB, wider numbers scaled and not clipped."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return _scaled(image, greys, 0, 2**greys.bits - 1)
    if image.mode in ("I", "F"):
        return _scaled(image, greys, *_range(image, greys))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    return image.convert("RGB")


def _numbers(strip: Image.Image, greys: Greys) -> np.ndarray:
    pixels = np.asarray(strip)
    return pixels if strip.mode != "I" or greys.signed else pixels.view(np.uint32)


def _range(image: Image.Image, greys: Greys) -> tuple[float, float]:
    """The first of 0..1 (floats), 0..255, 0..65535 that holds all pixels, else their own range."""
    ranges = []
    for _, strip in _strips(image):
        pixels = _numbers(strip, greys)
        if not np.isfinite(pixels).all():
            raise Undecodable("not finite", "NaN or infinite pixels")
        ranges.append((float(pixels.min()), float(pixels.max())))
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    for top in tops:
        if low >= 0 and high <= top:
            return 0.0, top
    return low, high


def _scaled(image: Image.Image, greys: Greys, low: float, high: float) -> Image.Image:
    """Mode L: low becomes 0, high 255; where 0 is white, low becomes 255."""
    low, high = (high, low) if greys.white else (low, high)
    out = Image.new("L", image.size)
    scale = 255.0 / (high - low) if high != low else 0.0
    for top, strip in _strips(image):
        pixels = np.rint((_numbers(strip, greys).astype(np.float64) - low) * scale).astype(np.uint8)
        out.paste(Image.fromarray(pixels), (0, top))
    return out
