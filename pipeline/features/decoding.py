"""One image's bytes to pixels, guarded: the code that measures, prepares and serves images.

Only Pillow, simplejpeg, numpy and the standard library, so that a served model can carry these files with it:
reading.py, colours.py, jpeg.py, resizing.py and this one. H height, W width, C channels (1 or 3).
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from pipeline.features import colours, jpeg, resizing
from pipeline.features.reading import FORMATS, Limits, Undecodable, check_bytes, check_pixels, read, sniff
from pipeline.features.resizing import Channels, Fit, fit

__all__ = [
    "FORMATS",
    "Channels",
    "Decoded",
    "Fit",
    "Limits",
    "Quality",
    "Undecodable",
    "decode",
    "fit",
    "pixels",
    "read",
    "sniff",
]

SWAPS = (Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90)
LIMITS = Limits()
HEAVY = {"WEBP": 0.6, "AVIF": 0.9}  # of the pixels that are allowed: their decoders hold copies at 4 bytes
# exact: every pixel of the file is decoded. fast: a JPEG at ½, ¼ or ⅛, where that leaves 1.5 pixels a target pixel.
Quality = Literal["exact", "fast"]
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


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


@dataclass(frozen=True)
class _Wish:
    size: int
    fit: Fit
    channels: Channels
    quality: Quality


def decode(content: bytes, limits: Limits = LIMITS, background: str = "white") -> Decoded:
    """The first frame, upright, without transparency, in 8 bits of grey or sRGB.

    Raises: Undecodable for everything else: no allowed format, truncated, too large, not finite.
    """
    with _verdicts():
        kind, found = _guarded(content, limits)
        decoded = jpeg.pixels(content, found, 1, grey=False) if found else None
        if found is None or decoded is None:
            return _decode(content, kind, limits, background)
        image = colours.image(decoded, found.profile)
        del decoded  # 40 million pixels are 120 MB
        return _finished(image, kind, found.several, jpeg.orientation(found.exif), background)


def pixels(
    content: bytes,
    limits: Limits = LIMITS,
    *,
    size: int,
    fit: Fit = "crop",
    channels: Channels = "rgb",
    quality: Quality = "exact",
    background: str = "white",
    resize: resizing.Resize = resizing.resize,
) -> np.ndarray:
    """uint8 [size, size, C] of an image's bytes; with `fit` none, [H, W, C] as the image is.

    `exact` gives the bits of `fit(decode(content).image)`. `fast` differs for JPEG alone: it is decoded at a fraction,
    grey is the file's own luma, and colours and orientation are put right after the reduction.
    Raises: Undecodable, where `decode` does.
    """
    wish = _Wish(size, fit, channels, quality)
    with _verdicts():
        kind, found = _guarded(content, limits)
        out = _jpeg(content, found, wish, resize) if found else None
        return _other(content, kind, limits, wish, background, resize) if out is None else out


def _guarded(content: bytes, limits: Limits) -> tuple[str, jpeg.Header | None]:
    """The format of what may be decoded, and an ordinary JPEG's header."""
    check_bytes(len(content), limits)
    kind = sniff(content)
    if kind == "PNG":
        _check_chunks(content)
    found = jpeg.header(content) if kind == "JPEG" else None
    if kind == "JPEG":
        jpeg.check_scans(content, found)
    if found:
        check_pixels(found.width, found.height, limits)
    return kind, found


@contextmanager
def _verdicts() -> Iterator[None]:
    """Whatever goes wrong inside is Undecodable."""
    # For good: catch_warnings changes the whole process, and threads would undo each other's. Verdicts say it all.
    if warnings.filters[:1] != [_PILLOW]:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
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


def _open(content: bytes, kind: str, limits: Limits) -> Image.Image:
    # `formats` keeps every other decoder out, Ghostscript for EPS among them.
    image: Image.Image = Image.open(io.BytesIO(content), formats=[kind])
    most = int(limits.pixels * HEAVY.get(kind, 1))
    check_pixels(*image.size, Limits(limits.bytes, most))
    return image


def _decode(content: bytes, kind: str, limits: Limits, background: str) -> Decoded:
    image = _open(content, kind, limits)
    several = _animated(image)
    image.load()
    return _finished(image, kind, several, _orientation(image), background)


def _finished(image: Image.Image, kind: str, several: bool, orientation: int | None, background: str) -> Decoded:
    """Upright and in 8 bits."""
    conversions = ["first_frame"] if several else []
    mode, turn, greys = image.mode, TURNS.get(orientation or 1), colours.greys(image)
    if orientation is None:
        conversions.append("exif_broken")
    if turn is not None:  # FLIP_LEFT_RIGHT is 0
        conversions.append("turned")
        image = image.transpose(turn)
    image = colours.eight_bits(image, background, conversions, greys)
    return Decoded(image, kind, mode, tuple(conversions))


def _jpeg(content: bytes, found: jpeg.Header, wish: _Wish, resize: resizing.Resize) -> np.ndarray | None:
    """None where Pillow is to judge."""
    fast, turn = wish.quality == "fast", TURNS.get(jpeg.orientation(found.exif) or 1)
    by = jpeg.divisor(resizing.frame(found.width, found.height, wish.size, wish.fit).ratio) if fast else 1
    coloured = colours.changes(found.profile, "L" if found.components == 1 else "RGB")
    luma = fast and wish.channels == "grey" and not coloured
    decoded = jpeg.pixels(content, found, by, luma)
    if decoded is None:
        return None
    image: Image.Image | np.ndarray = decoded
    del decoded  # one name for all steps: 40 million pixels are 120 MB a copy
    width, height = found.width / by, found.height / by
    if coloured:
        image = colours.in_srgb(colours.image(image), found.profile, [])
    if turn is not None and not fast:
        image = colours.image(image).transpose(turn)
        width, height = image.size
    if wish.channels == "grey":
        image = colours.grey(image)
    out = resize(image, resizing.frame(width, height, wish.size, wish.fit))
    if turn is not None and fast:
        out = _turned(out, turn)
    return resizing.finished(out, wish.size, wish.fit, wish.channels)


def _other(
    content: bytes, kind: str, limits: Limits, wish: _Wish, background: str, resize: resizing.Resize
) -> np.ndarray:
    """Every format but the ordinary JPEG, by Pillow."""
    image = _open(content, kind, limits)
    width, height = image.size
    by = 1
    if kind == "JPEG" and wish.quality == "fast":  # inks, mostly
        by = jpeg.divisor(resizing.frame(width, height, wish.size, wish.fit).ratio)
        image.draft(None, (width // by, height // by))
        by = by if image.size == (-(-width // by), -(-height // by)) else 1
    image.load()
    turn, greys = TURNS.get(_orientation(image) or 1), colours.greys(image)
    if turn is not None:
        image = image.transpose(turn)
        width, height = (height, width) if turn in SWAPS else (width, height)
    image = colours.eight_bits(image, background, [], greys)
    out = resize(
        colours.grey(image) if wish.channels == "grey" else image,
        resizing.frame(width / by, height / by, wish.size, wish.fit),
    )
    return resizing.finished(out, wish.size, wish.fit, wish.channels)


def _turned(pixels: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    turned = np.asarray(colours.image(pixels).transpose(turn))
    return turned.reshape(*turned.shape[:2], -1)


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


def _orientation(image: Image.Image) -> int | None:
    """1 to 8, as EXIF counts; None where it is broken."""
    try:
        value = image.getexif().get(0x0112, 1)
    except MemoryError:  # says nothing of the EXIF: an image must not lie on its side for want of memory
        raise
    # Broken EXIF raises whatever its parser met; the pixels are whole, so they are kept as they lie.
    except Exception:  # noqa: BLE001
        return None
    return value if isinstance(value, int) else 1
