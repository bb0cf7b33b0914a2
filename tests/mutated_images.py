"""Damaged files by the thousand: none may end in anything but pixels or Undecodable.

`python -m tests.mutated_images SEED COUNT` tries that many and prints what became of them.
"""

import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from pipeline.features import decoding
from tests.bad_images import encoded, exif

FORMS = [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"subsampling": 0, "restart_marker_blocks": 1}),
    ("PNG", {}), ("GIF", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
    ("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("AVIF", {"speed": 10}),
]  # fmt: skip
LIMITS = decoding.Limits(pixels=1_000_000)  # damage to a size must not make the test slow
SECONDS = 10  # a file, before the process is ended for a hang
COLOURS = ("RGB", "RGB", "L", "CMYK", "RGBA", "P", "1", "I;16")
TAKES = {
    "JPEG": ("RGB", "L", "CMYK"), "BMP": ("RGB", "L", "P", "1"), "WEBP": ("RGB", "RGBA"), "AVIF": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"), "PNG": ("RGB", "L", "RGBA", "P", "1", "I;16"), "TIFF": COLOURS,
}  # fmt: skip


def originals(chance: random.Random) -> list[bytes]:
    """Small files of every format in several colours, some with EXIF and a profile."""
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize((29, 21), Image.Resampling.BICUBIC)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = []
    for form, options in FORMS:
        for mode in TAKES[form]:
            if options.get("compression") == "jpeg" and mode not in ("RGB", "L"):
                continue
            image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257) if mode == "I;16" else photo
            extra = (
                {"exif": exif(6), "icc_profile": profile} if form in ("JPEG", "PNG", "WEBP") and mode == "RGB" else {}
            )
            found.append(encoded(image if mode == "I;16" else image.convert(mode), form, **options, **extra))
    chance.shuffle(found)
    return found


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, an end cut off, or pieces taken out, doubled or changed round."""
    how = chance.random()
    if how < 0.6:
        out = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            place = chance.randrange(len(out) if chance.random() < 0.5 else min(160, len(out)))
            out[place] = chance.choice((0, 0xFF, out[place] ^ (1 << chance.randrange(8)), chance.randrange(256)))
        return bytes(out)
    if how < 0.75:
        return content[: chance.randrange(len(content))]
    edges = sorted(chance.randrange(len(content)) for _ in range(3))
    parts = [content[a:b] for a, b in zip([0, *edges], [*edges, len(content)], strict=True)]
    first, *rest = parts
    chance.shuffle(rest)
    return first + b"".join(rest[: chance.choice((2, 3, 3))]) + chance.choice((b"", rest[0]))


def files(seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    whole = originals(chance)
    for k in range(count):
        yield mutated(whole[k % len(whole)], chance)


def outcome(content: bytes, quality: decoding.Quality, channels: decoding.Channels) -> str:
    """Raises: whatever escapes."""
    try:
        found = decoding.pixels(content, LIMITS, size=6, fit="crop", channels=channels, quality=quality)
    except decoding.Undecodable as error:
        return error.reason
    assert found.shape == (6, 6, 3 if channels == "rgb" else 1) and found.dtype == np.uint8
    return "pixels"


def check(content: bytes) -> str:
    """The verdict, which all three ways to read a file share. Raises: whatever escapes."""
    try:
        decoded = decoding.decode(content, LIMITS)
        verdict = "pixels"
    except decoding.Undecodable as error:
        decoded, verdict = None, error.reason
    exact, fast = outcome(content, "exact", "rgb"), outcome(content, "fast", "grey")
    assert (exact == "pixels") is (fast == "pixels") is (verdict == "pixels"), (verdict, exact, fast)
    if decoded:
        assert decoded.image.mode in ("L", "RGB")
        same = decoding.fit(decoded.image, 6, "crop", "rgb")
        assert np.array_equal(same, decoding.pixels(content, LIMITS, size=6, quality="exact")), "exact is not exact"
    return verdict


def main(seed: int, count: int) -> None:
    found: Counter[str] = Counter()
    for k, content in enumerate(files(seed, count)):
        signal.alarm(SECONDS)
        try:
            found[check(content)] += 1
        except BaseException:
            print(f"file {k} of seed {seed}: {content!r}", flush=True)
            raise
    signal.alarm(0)
    print(dict(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
