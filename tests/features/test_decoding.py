import concurrent.futures
import contextlib
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.features import decoding
from pipeline.features.decoding import Limits, Undecodable, decode, fit
from tests import mutated_images
from tests.bad_images import grey_tiff, twelve_bits, wide_gamut


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC)


def reason(content: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(content, limits or Limits())
    return caught.value.reason


def test_every_allowed_format_gives_its_pixels(photo: Image.Image) -> None:
    for form in decoding.FORMATS:
        found = decode(encoded(photo, form))
        assert (found.format, found.image.mode, found.image.size) == (form, "RGB", (60, 40))
        gap = np.abs(np.asarray(found.image).astype(int) - np.asarray(photo)).mean()
        assert gap < 12, form
    assert decode(encoded(photo, "PNG")).image.tobytes() == photo.tobytes()


def test_truncated_files_of_every_format_are_refused(photo: Image.Image) -> None:
    options: list[tuple[str, dict[str, Any]]] = [(form, {}) for form in decoding.FORMATS]
    for form, extra in [*options, ("JPEG", {"progressive": True}), ("TIFF", {"compression": "tiff_lzw"})]:
        content = encoded(photo, form, **extra)
        for share in (0.3, 0.6, 0.9):
            assert reason(content[: int(len(content) * share)]) in ("truncated", "broken"), form
    assert reason(b"") == "empty file"


@pytest.mark.parametrize(
    "content",
    [
        b"\x89",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x80\x04\x95.",
        b"hello",
        b"RIFF0000WAVE",
    ],
)
def test_what_is_no_allowed_image_is_refused_by_its_first_bytes(content: bytes) -> None:
    assert reason(content) == "not an image"


def test_a_flipped_byte_in_a_png_is_refused(photo: Image.Image) -> None:
    content = bytearray(encoded(photo, "PNG"))
    content[len(content) // 2] ^= 1
    assert reason(bytes(content)) == "bad check sum"


def test_trailing_bytes_do_no_harm(photo: Image.Image) -> None:
    assert decode(encoded(photo, "PNG") + b"tail" * 9).image.tobytes() == photo.tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_bombs_are_refused_before_they_take_memory() -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    assert reason(bomb) == "too many pixels"
    assert reason(encoded(Image.new("L", (30, 30)), "PNG"), Limits(pixels=899)) == "too many pixels"
    assert reason(encoded(Image.new("L", (30, 30)), "PNG"), Limits(bytes=10)) == "too many bytes"
    small = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * 2**20)))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    assert reason(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", small) + text + pixels + chunk(b"IEND", b"")) == "broken"


@pytest.mark.parametrize(("form", "most"), [("PNG", 100), ("WEBP", 60), ("AVIF", 90)])
def test_decoders_that_hold_more_copies_may_have_fewer_pixels(form: str, most: int) -> None:
    limits = Limits(pixels=1000)
    assert decode(encoded(Image.new("RGBA", (most, 10), "red"), form), limits).image.size == (most, 10)
    assert reason(encoded(Image.new("RGBA", (most + 1, 10), "red"), form), limits) == "too many pixels"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "real.jpg").write_bytes(b"x" * 20)
    (tmp_path / "link.jpg").symlink_to("real.jpg")
    for name in ("pipe.jpg", "folder.jpg", "link.jpg", "missing.jpg"):
        with pytest.raises(Undecodable):
            decoding.read(tmp_path / name, Limits())
    assert decoding.read(tmp_path / "real.jpg", Limits()) == b"x" * 20
    with pytest.raises(Undecodable, match="too many bytes"):
        decoding.read(tmp_path / "real.jpg", Limits(bytes=19))


def test_exif_orientation_turns_the_image(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encoded(photo, "PNG", exif=exif))
    assert found.conversions == ("turned",)
    assert found.image.tobytes() == photo.transpose(Image.Transpose.ROTATE_270).tobytes()
    broken = decode(encoded(photo, "PNG", exif=b"Exif\0\0MM\0*garbage"))
    assert broken.image.size == photo.size


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_put_right_as_pillow_does(form: str, value: int) -> None:
    ramp = np.linspace(0, 120, 60 * 40).reshape(40, 60)  # no turn leaves it as it is
    exif = Image.Exif()
    exif[0x0112] = value
    content = encoded(Image.fromarray(np.dstack([ramp, 2 * ramp, ramp + 90]).astype(np.uint8)), form, exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    found = decode(content).image
    assert found.size == ((60, 40) if value < 5 else (40, 60))
    assert np.abs(np.asarray(found).astype(int) - np.asarray(upright)).max() <= 1
    for how in ("stretch", "crop", "none"):
        wanted = fit(found, 16, how, "rgb")
        assert np.array_equal(decoding.pixels(content, size=16, fit=how), wanted), how
        fast = decoding.pixels(content, size=16, fit=how, quality="fast").astype(int)
        assert np.abs(fast - wanted).max() <= 8, how


def test_want_of_memory_while_turning_is_no_broken_exif(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "getexif", full)
    assert reason(encoded(photo, "PNG")) == "out of memory"


def test_wide_numbers_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    deep = np.asarray(decode(encoded(Image.fromarray(ramp), "PNG")).image)
    assert np.array_equal(deep, np.rint(ramp / 257).astype(np.uint8))
    dark = np.asarray(decode(encoded(Image.fromarray(ramp // 257), "PNG")).image)
    assert np.array_equal(dark, np.rint(ramp // 257 / 257))  # 16 bits are not stretched to what one image uses
    counts = (np.arange(4096, dtype=np.int32) * 1000 - 50_000).reshape(64, 64)
    whole = np.asarray(decode(encoded(Image.fromarray(counts), "TIFF")).image)
    assert (whole.min(), whole.max(), len(np.unique(whole))) == (0, 255, 256)
    unit = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(unit), "TIFF")).image), np.rint(unit * 255))
    for bad in (np.nan, np.inf):
        assert reason(encoded(Image.fromarray(np.where(unit > 0.9, np.float32(bad), unit)), "TIFF")) == "not finite"


# name: bits, TIFF's sample format, the number at black and at white; of these, `decode` takes the type's whole range
GREYS = {"u1": (8, 1, 0, 255), "i1": (8, 2, -128, 127), "u2": (16, 1, 0, 65535)}
# of these, the pixels' own, where no usual range holds them
WIDE = {"i2": (16, 2, -9000, 9000), "u4": (32, 1, 0, 2**32 - 1), "i4": (32, 2, -(10**6), 10**6), "f4": (32, 3, 0, 1)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("black", [1, 0])
@pytest.mark.parametrize("name", [*GREYS, *WIDE])
def test_a_tiff_s_greys_are_right_or_refused(name: str, black: int, order: str, packed: bool) -> None:
    bits, signs, low, high = (GREYS | WIDE)[name]
    share = np.linspace(*((0.1, 0.7) if name in GREYS else (0, 1)), 32 * 20).reshape(20, 32)
    numbers = low + share * (high - low)
    rows = (numbers if name == "f4" else numbers.round()).astype(order + name).tobytes()
    content = grey_tiff(rows, (32, 20), bits=bits, signs=signs, black=black, order=order, packed=packed)
    wanted = 255 * (share if black else 1 - share)
    try:
        found = decode(content).image
    except Undecodable as error:
        assert error.reason in ("broken", "unsupported TIFF")
        # Pillow knows no such files, or reads them in the wrong order of bytes
        assert not black or (order == ">" and (name == "u4" or (name in WIDE and packed)))
        return
    assert np.abs(np.asarray(found) - wanted).max() <= 0.51
    assert np.array_equal(decoding.pixels(content, size=9, fit="none", channels="grey")[..., 0], np.asarray(found))


@pytest.mark.parametrize("packed", [False, True])
def test_twelve_bits_of_grey_are_a_whole_range(packed: bool) -> None:
    numbers = np.linspace(400, 3000, 32 * 20).round()
    found = np.asarray(decode(grey_tiff(twelve_bits(numbers), (32, 20), bits=12, packed=packed)).image)
    assert np.array_equal(found.ravel(), np.rint(numbers * 255 / 4095))


def test_transparency_is_shown_on_white() -> None:
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:, :10, 3] = 255
    found = decode(encoded(Image.fromarray(pixels), "PNG"))
    assert "on_white" in found.conversions
    out = np.asarray(found.image)
    assert (out[:, :10] == 0).all() and (out[:, 10:] == 255).all()
    assert reason(encoded(Image.new("RGBA", (9, 9)), "PNG")) == "fully transparent"
    grey = decode(encoded(Image.merge("LA", (Image.new("L", (9, 9), 7), Image.new("L", (9, 9), 255))), "PNG")).image
    assert grey.mode == "L" and grey.getpixel((0, 0)) == 7
    palette = Image.fromarray(pixels).convert("P")
    assert (
        np.asarray(decode(encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))).image)[0, 0].tolist()
        == [255] * 3
    )


def test_other_colour_spaces_keep_their_look() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 40))
    for form, mode in [("JPEG", "CMYK"), ("TIFF", "CMYK"), ("TIFF", "LAB"), ("PNG", "P"), ("JPEG", "RGB")]:
        image = (
            Image.new("LAB", (16, 16), (108, 192, 165))
            if mode == "LAB"
            else red.quantize()
            if mode == "P"
            else red.convert(mode)
        )
        pixel = np.asarray(decode(encoded(image, form)).image)[8, 8].astype(int)
        assert abs(pixel[0] - 200) < 15 and pixel[1] < 60 and pixel[2] < 65, (form, mode, pixel)
    bits = decode(encoded(Image.new("1", (9, 9), 1), "PNG")).image
    assert bits.mode == "L" and bits.getpixel((0, 0)) == 255


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("L", (12, 12), level) for level in (40, 200)]
    for form in ("GIF", "TIFF", "WEBP"):
        found = decode(encoded(frames[0], form, save_all=True, append_images=frames[1:]))
        assert "first_frame" in found.conversions
        assert np.abs(np.asarray(found.image).astype(int) - 40).max() < 6, form


def test_one_colour_is_seen() -> None:
    assert decode(encoded(Image.new("RGB", (9, 9), (5, 6, 7)), "PNG")).one_colour
    assert not decode(encoded(Image.linear_gradient("L"), "PNG")).one_colour


def test_fit_crops_pads_and_stretches() -> None:
    halves = Image.new("RGB", (40, 20))
    halves.paste((255, 255, 255), (20, 0, 40, 20))
    crop, pad, stretch = (fit(halves, 10, how, "rgb") for how in ("crop", "pad", "stretch"))
    assert crop.shape == pad.shape == stretch.shape == (10, 10, 3)
    assert crop.dtype == np.uint8
    assert crop[5, 1, 0] == 0 and crop[5, 8, 0] == 255
    assert pad[0].max() == 0 and pad[5, 8, 0] == 255
    assert stretch[0, 1, 0] == 0 and stretch[0, 8, 0] == 255
    assert fit(halves, 10, "crop", "grey").shape == (10, 10, 1)
    assert fit(Image.new("L", (500, 1)), 10, "pad", "grey").shape == (10, 10, 1)


def test_fit_is_antialiased() -> None:
    board = Image.fromarray((np.indices((200, 200)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert np.abs(fit(board, 20, "crop", "grey").astype(int) - 127).max() < 10


def ratio(found: np.ndarray, wanted: np.ndarray) -> float:
    """PSNR in dB."""
    return float(10 * np.log10(255**2 / max(1e-9, np.square(found.astype(float) - wanted).mean())))


@pytest.mark.parametrize("size", [(1024, 768), (1003, 701), (2047, 1531), (640, 1999)])
def test_a_fraction_of_a_jpeg_lies_where_the_whole_does(size: tuple[int, int]) -> None:
    """A fraction's last row and column stand for fewer than 2ⁿ pixels; a shift of half a pixel would cost 20 dB."""
    small = np.random.default_rng(1).integers(0, 256, (size[1] // 50, size[0] // 50, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95)
    for how in ("crop", "stretch", "pad"):
        exact, fast = (decoding.pixels(content, size=100, fit=how, quality=word) for word in ("exact", "fast"))
        assert not np.array_equal(exact, fast)
        assert ratio(fast, exact) > 45, how
    grey = decoding.pixels(content, size=100, quality="fast", channels="grey")
    assert ratio(grey, decoding.pixels(content, size=100, channels="grey")) > 40


def test_the_file_s_orientation_is_put_right_after_a_fraction_too() -> None:
    content = Image.linear_gradient("L").resize((900, 700)).convert("RGB")
    for value in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = value
        file = encoded(content, "JPEG", quality=95, exif=exif)
        for how in ("crop", "stretch", "pad"):
            exact, fast = (decoding.pixels(file, size=64, fit=how, quality=word) for word in ("exact", "fast"))
            assert ratio(fast, exact) > 40, (value, how)
        whole = decoding.pixels(file, size=64, fit="none", quality="fast")
        assert whole.shape == ((700, 900, 3) if value < 5 else (900, 700, 3))


def test_a_colour_is_put_behind_what_is_transparent() -> None:
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:, :10, 3] = 255
    content = encoded(Image.fromarray(pixels), "PNG")
    found = decode(content, background="#102030")
    assert found.conversions == ("on_#102030",)
    assert np.asarray(found.image)[0, 15].tolist() == [16, 32, 48]
    assert decoding.pixels(content, size=20, background="red")[0, 19].tolist() == [255, 0, 0]


def test_profiles_lead_to_srgb() -> None:
    red = encoded(Image.new("RGB", (40, 30), (200, 30, 40)), "JPEG", quality=95, icc_profile=wide_gamut())
    pixel = np.asarray(decode(red).image)[9, 9].astype(int)
    assert pixel[1] > 150 and pixel[0] < 90  # the profile has red and green changed round
    for quality in ("exact", "fast"):
        assert np.abs(decoding.pixels(red, size=9, quality=quality)[4, 4].astype(int) - pixel).max() < 3
    grey = encoded(Image.linear_gradient("L"), "JPEG", icc_profile=wide_gamut())
    assert decode(grey).conversions == () and decode(grey).image.mode == "L"


def test_a_jpeg_is_decoded_as_pillow_does(photo: Image.Image) -> None:
    for options in ({}, {"subsampling": 0}, {"progressive": True}, {"quality": 30}):
        for mode in ("RGB", "L", "CMYK"):
            content = encoded(photo.convert(mode), "JPEG", **options)
            with Image.open(io.BytesIO(content)) as image:
                assert decode(content).image.tobytes() == image.convert("L" if mode == "L" else "RGB").tobytes()


def test_an_end_that_was_only_pretended_is_no_end(photo: Image.Image) -> None:
    content = encoded(photo.resize((600, 400)), "JPEG")
    assert reason(content[: len(content) // 2] + b"\xff\xd9") == "truncated"


def test_pillow_s_warnings_are_verdicts_and_not_news(photo: Image.Image) -> None:
    content = encoded(photo, "TIFF")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for end in range(len(content) - 200, len(content), 7):
            with contextlib.suppress(Undecodable):
                decode(content[:end])
        bomb = encoded(Image.new("1", (9, 9)), "PNG").replace(
            struct.pack(">II", 9, 9), struct.pack(">II", 10_000, 9_500)
        )
        header = bomb[12:29]
        assert reason(bomb.replace(bomb[29:33], struct.pack(">I", zlib.crc32(header)), 1)) == "too many pixels"


def test_threads_decode_at_the_same_time(photo: Image.Image) -> None:
    files = [encoded(photo, form) for form in decoding.FORMATS] * 8
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda content: decoding.pixels(content, size=16), files))
    assert all(np.array_equal(a, decoding.pixels(b, size=16)) for a, b in zip(found, files, strict=True))


def test_damaged_files_never_escape() -> None:
    mutated_images.main(seed=0, count=1500)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_hundred_thousand_damaged_files_never_escape(tmp_path: Path) -> None:
    """Two processes, each two minutes on an idle core; a hang or a crash shows in the exit code."""
    runs = []
    for seed in (1, 2):
        command = [sys.executable, "-m", "tests.mutated_images", str(seed), "50000"]
        with (tmp_path / f"{seed}").open("w") as out:  # libtiff's own messages would fill a pipe
            runs.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=out, stderr=out))
    try:
        assert [run.wait(timeout=900) for run in runs] == [0, 0], (tmp_path / "1").read_text()[-2000:]
    finally:
        for run in runs:
            run.kill()
