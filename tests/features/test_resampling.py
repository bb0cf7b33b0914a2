"""The compiled resize gives Pillow's bits, whatever the sizes, and so serving answers to what training saw."""

import numpy as np
import pytest
from PIL import Image

from pipeline.features import decoding, resampling, resizing
from pipeline.features.resizing import Frame
from tests.bad_images import encoded


def frames(count, top, seed):
    """Random images with random parts and target sizes; every third is tiny."""
    chance = np.random.default_rng(seed)
    for k in range(count):
        height, width = chance.integers(1, top if k % 3 else 24, 2)
        pixels = chance.integers(0, 256, (height, width, chance.choice([1, 3])), dtype=np.uint8)
        to = [int(n) for n in chance.integers(1, 120, 2)]
        if k % 5 == 0:
            to[k // 5 % 2] = int((width, height)[k // 5 % 2])
        (left, right), (top_edge, bottom) = (np.sort(chance.uniform(0, side, 2)) for side in (width, height))
        box = (left, top_edge, min(width, right + 1), min(height, bottom + 1)) if k % 2 else (0, 0, width, height)
        yield pixels, Frame(*(float(edge) for edge in box), *to)


def test_the_kernel_and_pillow_agree_in_every_bit():
    for pixels, to in frames(2500, 200, 0):
        assert np.array_equal(resampling.resize(pixels, to), resizing.resize(pixels, to)), (pixels.shape, to)


def test_two_passes_are_what_pillow_does_in_one():
    for pixels, to in frames(300, 200, 1):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        box = (to.left, to.top, to.right, to.bottom)
        once = np.asarray(image.resize((to.width, to.height), Image.Resampling.BICUBIC, box=box))
        assert np.array_equal(resizing.resize(pixels, to), once.reshape(to.height, to.width, -1)), (pixels.shape, to)


@pytest.mark.slow
def test_large_images_too():
    for pixels, to in frames(200, 3000, 2):
        assert np.array_equal(resampling.resize(pixels, to), resizing.resize(pixels, to)), (pixels.shape, to)


@pytest.mark.parametrize("side", [300, 2100])  # the larger one is copied by strips
def test_pillows_images_too(side):
    pixels = np.random.default_rng(5).integers(0, 256, (side, side + 10, 3), np.uint8)
    for image in (Image.fromarray(pixels), Image.fromarray(pixels[..., 0])):
        to = resizing.frame(image.width, image.height, 64, "crop")
        assert np.array_equal(resampling.resize(image, to), resizing.resize(image, to))


def photo(width, height):
    small = np.random.default_rng(3).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("channels", ["grey", "rgb"])
@pytest.mark.parametrize("quality", ["exact", "fast"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "none"])
def test_preparing_and_serving_give_the_same_bits(fit, quality, channels):
    files = [encoded(photo(403, 297), "JPEG", quality=90), encoded(photo(297, 403), "JPEG", subsampling=0)]
    files += [
        encoded(photo(403, 297).convert(mode), form) for form, mode in [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")]
    ]
    exif = Image.Exif()
    exif[0x0112] = 8
    files.append(encoded(photo(403, 297), "JPEG", exif=exif))
    for content in files:
        words = {"size": 64, "fit": fit, "quality": quality, "channels": channels}
        served = decoding.pixels(content, **words)
        assert np.array_equal(served, decoding.pixels(content, **words, resize=resampling.resize))
        if quality == "exact":
            assert np.array_equal(served, decoding.fit(decoding.decode(content).image, 64, fit, channels))
