"""Every kind of bad image, how to make one, and what is to become of it.

R: refused, with one of these reasons. C: converted, with these words in `conversions` (none where the pixels are
simply right). Kinds that decode but are too small or of one colour are for validation to judge.
"""

import functools
import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SIZE = (60, 40)


@dataclass(frozen=True)
class Kind:
    name: str
    make: Callable[[], bytes]
    refused: tuple[str, ...] = ()  # any of these reasons; empty: converted
    conversions: tuple[str, ...] = ()
    validation: str = ""  # what validation finds of it: too_small, one_colour


@functools.cache
def photo() -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def cut(form: str, share: float, **options: Any) -> bytes:
    content = encoded(photo(), form, **options)
    return content[: int(len(content) * share)]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *others: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + body


def flipped() -> bytes:
    content = bytearray(encoded(photo(), "PNG"))
    content[len(content) // 2] ^= 1
    return bytes(content)


def bmp(width: int, height: int) -> bytes:
    """24 bits a pixel, with the dimensions that are told and pixels of 4 × 4."""
    rows = bytes(range(48))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def tiff_loop() -> bytes:
    """The first directory names itself as the next."""
    content = bytearray(encoded(photo().convert("L"), "TIFF"))
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    return bytes(content)


def tiff(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels), "TIFF")


def grey_tiff(
    rows: bytes,
    size: tuple[int, int],
    *,
    bits: int,
    signs: int = 1,
    black: int = 1,
    order: str = "<",
    packed: bool = False,
) -> bytes:
    """As Pillow cannot write it. signs: 1 unsigned, 2 signed, 3 floats. black: whether 0 is black. order: of bytes."""
    body = zlib.compress(rows) if packed else rows
    body += bytes(len(body) % 2)
    tags = {256: size[0], 257: size[1], 258: bits, 259: 8 if packed else 1, 262: black, 273: 8, 277: 1}
    tags |= {278: size[1], 279: len(body), 339: signs}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (
        mark + struct.pack(f"{order}I", 8 + len(body)) + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    )


def twelve_bits(pixels: np.ndarray) -> bytes:
    """Two numbers below 4096 in three bytes."""
    first, second = pixels.reshape(-1, 2).astype(np.uint16).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()


def big_endian_float(packed: bool) -> bytes:
    return grey_tiff(ramp(">f4", 1).tobytes(), (64, 64), bits=32, signs=3, order=">", packed=packed)


def ramp(dtype: Any, top: float) -> np.ndarray:
    return np.linspace(0, top, 64 * 64).astype(dtype).reshape(64, 64)


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    content = encoded(photo(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + b"\xff\xd9"


def exif(value: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = value
    return tags


def profile(name: str) -> bytes:
    if name == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_gamut() -> bytes:
    """sRGB's profile with red and green changed round: no colour but grey stays what it is."""
    content = profile("sRGB")
    return content.replace(b"rXYZ", b"gXY?", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"gXY?", b"gXYZ", 1)


def clear(alpha: int) -> Image.Image:
    image = photo().convert("RGBA")
    image.putalpha(alpha)
    return image


def animation(form: str) -> bytes:
    return encoded(photo(), form, save_all=True, append_images=[photo().rotate(90), photo().rotate(180)])


def palette() -> bytes:
    image = photo().quantize(16)
    return encoded(image, "PNG", transparency=3)


def scaled_grey() -> bytes:
    return encoded(Image.fromarray(ramp(np.uint16, 65535)), "PNG")


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG that claims to be larger than it is."""
    content = bytearray(encoded(photo(), "JPEG"))
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


BOMB = zlib.compress(bytes(100 * 2**20), 9)
GONE = ("truncated", "broken")
KINDS = [
    Kind("empty file", lambda: b"", ("empty file",)),
    Kind("one byte", lambda: b"\xff", ("not an image",)),
    *[
        Kind(f"header only, {form}", lambda form=form: cut(form, 0)[:0] + encoded(photo(), form)[:30], GONE)
        for form in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF")
    ],
    *[
        Kind(f"truncated {form}", lambda form=form: cut(form, 0.7), GONE)
        for form in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF")
    ],
    Kind("truncated progressive JPEG", lambda: cut("JPEG", 0.7, progressive=True), GONE),
    Kind("bad check sum", flipped, ("bad check sum",)),
    Kind("text", lambda: b"hello, this is no image\n" * 9, ("not an image",)),
    Kind("HTML", lambda: b"<!doctype html><html><body>404</body></html>", ("not an image",)),
    Kind("SVG", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", ("not an image",)),
    Kind("EPS", lambda: encoded(photo(), "EPS"), ("not an image",)),
    Kind("pickle", lambda: pickle.dumps(print), ("not an image",)),
    Kind("CMYK", lambda: encoded(photo().convert("CMYK"), "JPEG"), (), ("CMYK_to_8bit",)),
    Kind("16-bit grey", scaled_grey, (), ("I;16_to_8bit",)),
    Kind("16-bit grey TIFF, big-endian", lambda: tiff(ramp(">u2", 65535)), (), ("I;16B_to_8bit",)),
    Kind("palette with transparency", palette, (), ("on_white",)),
    Kind("1 bit", lambda: encoded(photo().convert("1"), "PNG"), (), ("1_to_8bit",)),
    Kind("grey with alpha", lambda: encoded(clear(90).convert("LA"), "PNG"), (), ("on_white",)),
    Kind("fully transparent", lambda: encoded(clear(0), "PNG"), ("fully transparent",)),
    Kind("half transparent", lambda: encoded(clear(128), "WEBP"), (), ("on_white",)),
    *[
        Kind(f"animated {form}", lambda form=form: animation(form), (), ("first_frame",))
        for form in ("GIF", "WEBP", "PNG", "TIFF", "AVIF")
    ],
    Kind("EXIF orientation", lambda: encoded(photo(), "JPEG", exif=exif(6)), (), ("turned",)),
    Kind("EXIF orientation of another kind", lambda: encoded(photo(), "JPEG", exif=exif(77))),
    Kind("EXIF garbage", lambda: encoded(photo(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")),
    Kind("decompression bomb", lambda: png(20_000, 20_000, 8, 0, bytes(10**6)), ("too many pixels",)),
    Kind("a bomb of 200 million pixels", lambda: png(16_000, 12_500, 1, 0, bytes(10**6)), ("too many pixels",)),
    Kind("JPEG above the pixel cap", lambda: jpeg_header(65_000, 65_000), ("too many pixels",)),
    Kind("JPEG larger than its data", lambda: jpeg_header(6000, 6000), GONE),
    Kind("PNG larger than its data", lambda: png(6000, 6000, 8, 2, bytes(10**6)), GONE),
    Kind("1 × 400", lambda: encoded(photo().resize((400, 1)), "PNG"), validation="too_small"),
    Kind("1 × 1", lambda: encoded(photo().resize((1, 1)), "PNG"), validation="too_small"),
    Kind("0 × 0 PNG", lambda: png(0, 0, 8, 0, b""), ("broken", "no pixels")),
    Kind("0 × 0 BMP", lambda: bmp(0, 0), ("broken", "no pixels", "truncated")),
    Kind("NaN", lambda: tiff(np.full((9, 9), np.nan, np.float32)), ("not finite",)),
    Kind("infinite", lambda: tiff(np.where(ramp(np.float32, 1) > 0.5, np.float32(np.inf), 0)), ("not finite",)),
    Kind("int32 TIFF", lambda: tiff(ramp(np.int32, 10**6)), (), ("I_to_8bit",)),
    Kind("float TIFF", lambda: tiff(ramp(np.float32, 1)), (), ("F_to_8bit",)),
    Kind("12-bit grey TIFF", lambda: grey_tiff(twelve_bits(ramp(int, 4095)), (64, 64), bits=12), (), ("I;16_to_8bit",)),
    Kind("signed 8-bit TIFF", lambda: grey_tiff(bytes(range(256)), (16, 16), bits=8, signs=2), (), ("signed_to_8bit",)),
    Kind("big-endian float TIFF", lambda: big_endian_float(packed=False), (), ("F_to_8bit",)),
    Kind("big-endian float TIFF, compressed", lambda: big_endian_float(packed=True), ("unsupported TIFF",)),
    Kind("broken profile", lambda: encoded(photo(), "JPEG", icc_profile=b"junk" * 99), (), ("profile_dropped",)),
    Kind(
        "profile for other colours",
        lambda: encoded(photo(), "PNG", icc_profile=profile("LAB")),
        (),
        ("profile_dropped",),
    ),
    Kind(
        "profile of 5 MB", lambda: encoded(photo(), "PNG", icc_profile=profile("sRGB") + bytes(5 * 2**20)), ("broken",)
    ),
    Kind("sRGB profile", lambda: encoded(photo(), "JPEG", icc_profile=profile("sRGB"))),
    Kind("another profile", lambda: encoded(photo(), "JPEG", icc_profile=wide_gamut()), (), ("to_srgb",)),
    Kind("zTXt bomb", lambda: png(9, 9, 8, 0, bytes(90), chunk(b"zTXt", b"Comment\0\0" + BOMB)), ("broken",)),
    Kind("iTXt bomb", lambda: png(9, 9, 8, 0, bytes(90), chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB)), ("broken",)),
    Kind("iCCP bomb", lambda: png(9, 9, 8, 0, bytes(90), chunk(b"iCCP", b"profile\0\0" + BOMB)), ("broken",)),
    Kind("many scans", lambda: scans(3000), ("too many scans",)),
    Kind("trailing bytes, JPEG", lambda: encoded(photo(), "JPEG") + b"tail" * 99),
    Kind("trailing bytes, PNG", lambda: encoded(photo(), "PNG") + b"tail" * 99),
    Kind("WebP", lambda: encoded(photo(), "WEBP")),
    Kind("BMP", lambda: encoded(photo(), "BMP")),
    Kind("AVIF", lambda: encoded(photo(), "AVIF")),
    Kind("BMP of negative width", lambda: bmp(-4, 4), ("broken", "no pixels", "truncated", "too many pixels")),
    Kind("BMP from the top down", lambda: bmp(4, -4), validation="too_small"),
    Kind("TIFF whose directory names itself", tiff_loop, (), ("first_frame",)),
    Kind("LAB", lambda: encoded(Image.new("LAB", SIZE, (108, 192, 165)), "TIFF"), (), ("LAB_to_8bit",), "one_colour"),
    Kind("one colour", lambda: encoded(Image.new("RGB", SIZE, (5, 6, 7)), "PNG"), validation="one_colour"),
]


def symlink_loop(folder: Path) -> Path:
    (folder / "a.jpg").symlink_to("b.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    return folder / "a.jpg"


def link(folder: Path, target: str) -> Path:
    (folder / "link.jpg").symlink_to(target)
    return folder / "link.jpg"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.jpg")
    return folder / "pipe.jpg"


def directory(folder: Path) -> Path:
    (folder / "folder.jpg").mkdir()
    return folder / "folder.jpg"


def named(folder: Path, name: bytes) -> Path:
    path = folder / os.fsdecode(name)
    path.write_bytes(encoded(photo(), "PNG"))
    return path


# None: read and decoded like any other
PLACES: dict[str, tuple[Callable[[Path], Path], str | None]] = {
    "symlink loop": (symlink_loop, "unreadable"),
    "link out of the tree": (lambda folder: link(folder, "/etc/hostname"), "unreadable"),
    "dangling link": (lambda folder: link(folder, "nowhere.jpg"), "unreadable"),
    "folder": (directory, "not a regular file"),
    "FIFO": (fifo, "not a regular file"),
    "device": (lambda folder: Path("/dev/zero"), "not a regular file"),
    "missing": (lambda folder: folder / "missing.jpg", "unreadable"),
    "NUL in the name": (lambda folder: folder / "a\0b.jpg", "unreadable"),
    "not UTF-8": (lambda folder: named(folder, b"\xff\xfe.png"), None),
    "255 bytes": (lambda folder: named(folder, b"n" * 251 + b".png"), None),
    "newline, blank, quote, comma": (lambda folder: named(folder, b"a\n b'\",c.png"), None),
    "a command": (lambda folder: named(folder, b"$(touch owned);`id`.png"), None),
    "leading dash": (lambda folder: named(folder, b"-rf.png"), None),
    "right to left": (lambda folder: named(folder, "a\u202egnp.exe.png".encode()), None),
    "Chinese, NFC and NFD": (lambda folder: named(folder, "图像é e\u0301.png".encode()), None),
    "upper-case extension": (lambda folder: named(folder, b"A.PNG"), None),
    "wrong extension": (lambda folder: named(folder, b"a.jpg"), None),
    "no extension": (lambda folder: named(folder, b"image"), None),
}
