"""A file's bytes, read with guards, and its format by its first bytes."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError

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


@dataclass(frozen=True)
class Limits:
    """What is refused unseen. 40 million pixels are decoded within 512 MB."""

    bytes: int = 64 * 2**20
    pixels: int = 40_000_000


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
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Undecodable("unreadable", getattr(error, "strerror", None) or str(error)) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Undecodable("not a regular file")
        check_bytes(status.st_size, limits)
        content = os.read(handle, status.st_size)
        if len(content) != status.st_size or os.read(handle, 1):
            raise Undecodable("changed while it was read")
        return content
    except OSError as error:
        raise Undecodable("unreadable", error.strerror or "") from None
    finally:
        os.close(handle)


def check_bytes(count: int, limits: Limits) -> None:
    """Raises: Undecodable."""
    if count > limits.bytes:
        raise Undecodable("too many bytes", f"{count:,} > {limits.bytes:,}")


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raises: Undecodable."""
    if width < 1 or height < 1:
        raise Undecodable("no pixels", f"{width}×{height}")
    if width * height > limits.pixels:
        raise Undecodable("too many pixels", f"{width}×{height} > {limits.pixels:,}")


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
