"""One image's bytes to pixels, guarded: the code that measures, prepares and serves images.

Only Pillow, numpy and the standard library, so that a served model can carry this file with it.
H height, W width, C channels (1 or 3).
"""

import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps

from pipeline.errors import DataError

Fit = Literal["crop", "pad", "stretch"]
Channels = Literal["grey", "rgb"]
MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": (b"BM",),
    "WEBP": (b"RIFF",),
    "AVIF": (),
}
FORMATS = tuple(MAGIC)
STRIP = 256  # rows
# catch_warnings changes the whole process, so one thread decodes at a time.
_WARNINGS = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What is refused unseen. 40 million pixels are decoded within 512 MB."""

    bytes: int = 64 * 2**20
    pixels: int = 40_000_000


@dataclass(frozen=True)
class Decoded:
    """An upright image of mode L or RGB; `mode` is the file's own, `conversions` what was done to it."""

    image: Image.Image
    format: str
    mode: str
    conversions: tuple[str, ...]

    @property
    def one_colour(self) -> bool:
        extrema: Any = self.image.getextrema()  # one pair, or one a channel
        pairs = [extrema] if self.image.mode == "L" else extrema
        return all(low == high for low, high in pairs)


class Undecodable(DataError):
    """`reason` is a short constant text, such as `truncated`; `detail` may quote the decoder."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"image: {reason}{f' ({detail})' if detail else ''}; expected one of {', '.join(FORMATS)}")


def read(path: Path, limits: Limits) -> bytes:
    """The bytes of a regular file; a link, FIFO or device is never opened for reading.

    Raises: Undecodable.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Undecodable("unreadable", error.strerror or "") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise Undecodable("not a regular file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > limits.bytes:
            raise Undecodable("too many bytes", f"{status.st_size:,} > {limits.bytes:,}")
        return file.read()


def sniff(content: bytes) -> str:
    """The format by its first bytes, whatever the file's name. Raises: Undecodable."""
    if not content:
        raise Undecodable("empty file")
    if content[4:8] == b"ftyp" and any(brand in content[8:64] for brand in (b"avif", b"avis")):
        return "AVIF"
    for name, starts in MAGIC.items():
        if content.startswith(starts) and (name != "WEBP" or content[8:12] == b"WEBP"):
            return name
    raise Undecodable("not an image", f"begins with {content[:8]!r}")


def decode(content: bytes, limits: Limits = Limits()) -> Decoded:
    """The first frame, upright, without transparency, in 8 bits of grey or RGB.

    Raises: Undecodable for everything else: no allowed format, truncated, too large, not finite.
    """
    if len(content) > limits.bytes:
        raise Undecodable("too many bytes", f"{len(content):,} > {limits.bytes:,}")
    kind = sniff(content)
    if kind == "PNG":
        _check_chunks(content)
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _decode(content, kind, limits)
        except Undecodable:
            raise
        except MemoryError:
            raise Undecodable("out of memory") from None
        except Image.DecompressionBombError:
            raise Undecodable("too many pixels") from None
        # Pillow lets OSError, ValueError, IndexError, KeyError, SyntaxError, struct.error and more through.
        except Exception as error:  # noqa: BLE001
            text = " ".join(str(error).split())[:200]
            cut = any(word in text.lower() for word in ("truncated", "broken data stream", "unexpected end"))
            raise Undecodable("truncated" if cut else "broken", f"{type(error).__name__}: {text}") from None


def _decode(content: bytes, kind: str, limits: Limits) -> Decoded:
    # `formats` keeps every other decoder out, Ghostscript for EPS among them.
    image: Image.Image = Image.open(io.BytesIO(content), formats=[kind])
    width, height = image.size
    if width < 1 or height < 1:
        raise Undecodable("no pixels", f"{width}×{height}")
    if width * height > limits.pixels:
        raise Undecodable("too many pixels", f"{width}×{height} > {limits.pixels:,}")
    conversions = ["first_frame"] if _animated(image) else []
    if image.info.get("icc_profile"):
        conversions.append("profile_ignored")
    mode = image.mode
    image.load()
    # One name for all steps, so that no step's input outlives it: 40 million pixels are 160 MB a copy.
    image = _upright(image, conversions)
    image = _opaque(image, conversions)
    if image.mode not in ("L", "RGB"):
        conversions.append(f"{image.mode}_to_8bit")
        image = _plain(image)
    return Decoded(image, kind, mode, tuple(conversions))


def _animated(image: Image.Image) -> bool:
    """Whether there is a second frame; `n_frames` would walk through all of a million."""
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        return bool(tags.next)
    return bool(getattr(image, "is_animated", False))


def _check_chunks(content: bytes) -> None:
    """Pillow skips the check sums of a PNG's pixel data, and would show damaged pixels as if whole."""
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        name = content[position + 4 : position + 8]
        (wanted,) = struct.unpack_from(">I", content, end - 4)
        # A damaged ancillary chunk (lower-case first letter: comments, dates) costs no pixel.
        if not name[:1].islower() and zlib.crc32(memoryview(content)[position + 4 : end - 4]) != wanted:
            raise Undecodable("bad check sum", f"chunk {name!r}")
        if name == b"IEND":
            return
        position = end
    raise Undecodable("truncated", "no IEND chunk")


def _upright(image: Image.Image, conversions: list[str]) -> Image.Image:
    try:
        turned = ImageOps.exif_transpose(image)
    except MemoryError:  # says nothing of the EXIF: an image must not lie on its side for want of memory
        raise
    # Broken EXIF raises whatever its parser met; the pixels are whole, so they are kept as they lie.
    except Exception:  # noqa: BLE001
        conversions.append("exif_broken")
        return image
    if turned is None or turned is image:
        return image
    if image.getexif().get(0x0112, 1) != 1:
        conversions.append("turned")
    return turned


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, copy of the next 256 rows): what works strip by strip needs no second whole copy."""
    for top in range(0, image.height, STRIP):
        yield top, image.crop((0, top, image.width, min(top + STRIP, image.height)))


def _opaque(image: Image.Image, conversions: list[str]) -> Image.Image:
    """Composited on white where the file has transparency. Raises: Undecodable when nothing is visible."""
    if not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):  # one transparent level of 16-bit grey: the conversion would clip the others
        image.info.pop("transparency", None)
        return image
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    out, lowest, highest = Image.new(mode, image.size, "white"), 255, 0
    for top, strip in _strips(image):
        full = strip.convert("RGBA")
        alpha = full.getchannel("A")
        extrema: Any = alpha.getextrema()
        lowest, highest = min(lowest, extrema[0]), max(highest, extrema[1])
        out.paste(full.convert(mode), (0, top), alpha)
    if highest == 0:
        raise Undecodable("fully transparent")
    if lowest < 255:
        conversions.append("on_white")
    return out


def _plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB, wider numbers scaled and not clipped."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return _scaled(image, 0, 65535)
    if image.mode in ("I", "F"):
        return _scaled(image, *_range(image))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    return image.convert("RGB")


def _range(image: Image.Image) -> tuple[float, float]:
    """The first of 0..1 (floats), 0..255, 0..65535 that holds all pixels, else their own range."""
    ranges = []
    for _, strip in _strips(image):
        pixels = np.asarray(strip)
        if not np.isfinite(pixels).all():
            raise Undecodable("not finite", "NaN or infinite pixels")
        ranges.append((float(pixels.min()), float(pixels.max())))
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    for top in tops:
        if low >= 0 and high <= top:
            return 0.0, top
    return low, high


def _scaled(image: Image.Image, low: float, high: float) -> Image.Image:
    """Mode L: low becomes 0, high 255."""
    out = Image.new("L", image.size)
    scale = 255.0 / (high - low) if high > low else 0.0
    for top, strip in _strips(image):
        pixels = np.rint((np.asarray(strip).astype(np.float64) - low) * scale).astype(np.uint8)
        out.paste(Image.fromarray(pixels), (0, top))
    return out


def fit(image: Image.Image, size: int, how: Fit, channels: Channels) -> np.ndarray:
    """uint8 [size, size, C]: antialiased bicubic, the centre cropped, padded with black, or stretched."""
    mode = "L" if channels == "grey" else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    width, height = image.size
    cubic = Image.Resampling.BICUBIC
    if how == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        resized = image.resize((size, size), cubic, box=(left, top, left + side, top + side))
    elif how == "pad":
        scale = size / max(width, height)
        inner = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), cubic)
        resized = Image.new(mode, (size, size))
        resized.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
    else:
        resized = image.resize((size, size), cubic)
    return np.asarray(resized).reshape(size, size, -1)
