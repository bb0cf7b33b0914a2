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
BACKGROUND = 255  # transparent pixels are shown on white
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
    conversions = ["first_frame"] if getattr(image, "n_frames", 1) > 1 else []
    if image.info.get("icc_profile"):
        conversions.append("profile_ignored")
    mode = image.mode
    image.load()
    turned = _upright(image, conversions)
    plain = _opaque(turned, conversions)
    if plain.mode not in ("L", "RGB"):
        conversions.append(f"{plain.mode}_to_8bit")
        plain = _plain(plain)
    return Decoded(plain, kind, mode, tuple(conversions))


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
    # Broken EXIF raises whatever its parser met; the pixels are whole, so they are kept as they lie.
    except Exception:  # noqa: BLE001
        conversions.append("exif_broken")
        return image
    if turned is None or turned is image:
        return image
    if image.getexif().get(0x0112, 1) != 1:
        conversions.append("turned")
    return turned


def _opaque(image: Image.Image, conversions: list[str]) -> Image.Image:
    """Composited on white where the file has transparency. Raises: Undecodable when nothing is visible."""
    if not image.has_transparency_data:
        return image
    grey = image.mode in ("1", "L", "LA", "La", "I;16")
    if image.mode == "I;16":  # 16-bit grey with one transparent value: scale first, or it would be clipped
        image.info.pop("transparency", None)
        return image
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    extrema: Any = alpha.getextrema()
    low, high = extrema
    if high == 0:
        raise Undecodable("fully transparent")
    solid = image.convert("RGB")
    if low < 255:
        conversions.append("on_white")
        background = Image.new("RGB", image.size, (BACKGROUND,) * 3)
        background.paste(solid, mask=alpha)
        solid = background
    return solid.convert("L") if grey else solid


def _plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB, wider numbers scaled and not clipped."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), 0, 65535)
    if image.mode in ("I", "F"):
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise Undecodable("not finite", "NaN or infinite pixels")
        return _scaled(pixels, *_range(pixels))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    return image.convert("RGB")


def _range(pixels: np.ndarray) -> tuple[float, float]:
    """The first of 0..1 (floats), 0..255, 0..65535 that holds all pixels, else their own range."""
    low, high = float(pixels.min()), float(pixels.max())
    tops = (1.0, 255.0, 65535.0) if pixels.dtype.kind == "f" else (255.0, 65535.0)
    for top in tops:
        if low >= 0 and high <= top:
            return 0.0, top
    return low, high


def _scaled(pixels: np.ndarray, low: float, high: float) -> Image.Image:
    """Strip by strip: a float copy of 40 million pixels would take 320 MB."""
    out = np.empty(pixels.shape, np.uint8)
    scale = 255.0 / (high - low) if high > low else 0.0
    for start in range(0, len(pixels), 256):
        strip = pixels[start : start + 256].astype(np.float64)
        out[start : start + 256] = np.rint((strip - low) * scale)
    return Image.fromarray(out)


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
