"""What a JPEG file says before its pixels, and its pixels by libjpeg-turbo at a fraction of their size.

Markers: ITU-T T.81, annex B; EXIF and ICC profiles as Pillow puts them together.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.features.reading import Undecodable

SCANS = 100  # a progressive file has about ten; thousands make a small file decode for minutes
DIVISORS = (8, 4, 2)  # libjpeg-turbo's fractions that are fast and keep 2ⁿ pixels together
ENOUGH = 1.5  # pixels a target pixel, below which a fraction shows (5th percentile of the PSNR below 50 dB)
COLOURS = {1: "GRAY", 3: "RGB"}
# libjpeg-turbo's words for what Pillow would show as grey or false pixels without a word
DAMAGE = {"premature end": "truncated", "huffman code": "damaged", "instead of rst": "damaged"}
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, all Huffman-coded
_OTHER_FRAMES = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    components: int
    exif: bytes
    profile: bytes
    one_scan: bool
    several: bool  # images: the first is the photograph


@dataclass
class _Marks:
    size: tuple[int, int] = (0, 0)
    components: int = 0
    progressive: bool = False
    several: bool = False
    exif: bytes = b""
    profiles: list[bytes] = field(default_factory=list)


def check_scans(content: bytes, found: Header | None) -> None:
    """Raises: Undecodable."""
    if found and found.one_scan:
        return
    data = np.frombuffer(content, np.uint8)
    scans = np.count_nonzero((data[:-1] == 0xFF) & (data[1:] == 0xDA))
    if scans > SCANS:
        raise Undecodable("too many scans", f"{scans:,} > {SCANS}")


def header(content: bytes) -> Header | None:
    """None for what is rare or odd: inks, 12 bits, arithmetic coding, orientation in XMP, garbage between markers."""
    found, position = _Marks(), 2
    while position + 5 <= len(content) and content[position] == 0xFF:
        mark, length = content[position + 1], struct.unpack_from(">H", content, position + 2)[0]
        if length < 2 or mark in _OTHER_FRAMES or not 0xC0 <= mark <= 0xFE or 0xD0 <= mark <= 0xD9:
            return None
        if mark == 0xDA:
            return _whole(found, content[position + 4])
        if not _take(found, mark, content[position + 4 : position + 2 + length]):
            return None
        position += 2 + length
    return None


def _take(found: _Marks, mark: int, body: bytes) -> bool:
    """Whether the segment is an ordinary one."""
    if mark in _FRAMES:
        if found.components or len(body) < 6 or body[0] != 8:
            return False
        height, width = struct.unpack_from(">HH", body, 1)
        found.size, found.components, found.progressive = (width, height), body[5], mark == 0xC2
    elif mark == 0xE1 and body.startswith(_EXIF):
        found.exif = found.exif + body[6:] if found.exif else body
    elif mark == 0xE1:
        return b"Orientation" not in body
    elif mark == 0xE2 and body.startswith(_ICC):
        found.profiles.append(body)
    elif mark == 0xE2 and body.startswith(b"MPF\0"):
        found.several = True
    return True


def _whole(found: _Marks, scanned: int) -> Header | None:
    """scanned: the components of the first scan."""
    if found.components not in COLOURS or 0 in found.size:
        return None
    parts = sorted(found.profiles)
    whole = bool(parts) and len(parts[0]) > 13 and parts[0][13] == len(parts)
    profile = b"".join(part[14:] for part in parts) if whole else b""
    one_scan = not found.progressive and scanned == found.components
    return Header(*found.size, found.components, found.exif, profile, one_scan, found.several)


def orientation(exif: bytes) -> int | None:
    """1 to 8, as EXIF counts; 1 where it says nothing, None where it is broken."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(0x0112, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # whatever the parser met; the pixels are whole
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def divisor(ratio: float) -> int:
    """The largest of 8, 4, 2 that leaves enough pixels, else 1. ratio: the file's pixels a target pixel."""
    return next((by for by in DIVISORS if ratio / by >= ENOUGH), 1)


def pixels(content: bytes, found: Header, by: int, grey: bool) -> np.ndarray | None:
    """uint8 [ceil(H / by), ceil(W / by), C]; None where libjpeg-turbo complains of what costs no pixel.

    Raises: Undecodable for damage that Pillow would show as grey or false pixels without a word.
    """
    height, width = -(-found.height // by), -(-found.width // by)
    colours = "GRAY" if grey and found.components == 3 else COLOURS[found.components]
    try:
        decoded: np.ndarray = simplejpeg.decode_jpeg(
            content, colours, min_height=height, min_width=width, min_factor=by
        )
    except ValueError as error:
        text = str(error).lower()
        for words, reason in DAMAGE.items():
            if words in text:
                raise Undecodable(reason, text[:200]) from None
        return None
    return decoded if decoded.shape[:2] == (height, width) else None
