"""Pixels as PNG of the same bytes on every machine: stored without compression, which no library's version alters."""

import struct
import zlib

import numpy as np

COLOURS = {1: 0, 3: 2}  # channels → PNG's colour type: grey, RGB
STORED = 65535  # bytes of one stored block, at most


def encode(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, C], C 1 or 3."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", _stored(rows.tobytes())), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _stored(content: bytes) -> bytes:
    """A zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4)."""
    blocks = []
    for start in range(0, len(content), STORED):
        block = content[start : start + STORED]
        last = start + STORED >= len(content)
        blocks.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(content))
