"""The compiled kernel against torchvision and against plain numpy, on real memory-mapped files."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from pipeline.loader import kernel

COUNT = 12


def addresses(images):
    return np.array([image.ctypes.data for image in images], np.uintp)


def boxes_of(random, height, width):
    tall, wide = random.integers(1, height + 1, COUNT), random.integers(1, width + 1, COUNT)
    top, left = random.integers(0, height - tall + 1), random.integers(0, width - wide + 1)
    return np.stack([top, left, tall, wide], axis=1)


def resized(images, boxes, shifts, turned, out, scale, bias):
    sizes = np.array([image.shape[:2] for image in images], np.int64)
    channels = out.shape[-1]
    scales, biases = (np.full(channels, value, np.float32) for value in (scale, bias))
    kernel.resize(addresses(images), sizes, boxes, shifts, turned, scales, biases, out)
    return out


def expected(image, box, shift, turned, size):
    """What torchvision makes of it, float32 in 0..1."""
    rows = np.clip(np.arange(image.shape[0]) + shift[0], 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) + shift[1], 0, image.shape[1] - 1)
    pixels = torch.from_numpy(image[rows[:, None], columns]).permute(2, 0, 1).float() / 255
    found = functional.resized_crop(pixels, *map(int, box), list(size), antialias=True)
    found = functional.vertical_flip(found) if turned[0] else found
    return (functional.horizontal_flip(found) if turned[1] else found).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("stored", [(24, 20), (90, 30), (150, 160)])
def test_a_cut_resized_moved_and_turned_image_is_what_torchvision_makes_of_it(channels, stored):
    random = np.random.default_rng(channels)
    images = random.integers(0, 256, (COUNT, *stored, channels), np.uint8)
    boxes, turned = boxes_of(random, *stored), random.random((COUNT, 2)) < 0.5
    shifts = random.integers(-9, 10, (COUNT, 2))
    floats = resized(images, boxes, shifts, turned, np.empty((COUNT, 40, 44, channels), np.float32), 1 / 255, 0)
    bytes_ = resized(images, boxes, shifts, turned, np.empty((COUNT, 40, 44, channels), np.uint8), 1, 0.5)
    for k in range(COUNT):
        wanted = expected(images[k], boxes[k], shifts[k], turned[k], (40, 44))
        assert np.abs(floats[k] - wanted).max() < 3e-5
        assert np.abs(bytes_[k] - 255.0 * wanted).max() < 0.51


def test_a_box_of_the_very_size_keeps_every_pixel():
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 17, 19, 3), np.uint8)
    boxes = np.tile([0, 0, 17, 19], (COUNT, 1))
    still = np.zeros((COUNT, 2), np.int64)
    assert (resized(images, boxes, still, still > 0, np.empty_like(images), 1, 0.5) == images).all()


def test_black_and_white_stay_so_in_bytes():
    for value in (0, 255):
        images = np.full((COUNT, 33, 70, 3), value, np.uint8)
        boxes = boxes_of(np.random.default_rng(value), 33, 70)
        still = np.zeros((COUNT, 2), np.int64)
        assert (resized(images, boxes, still, still > 0, np.empty((COUNT, 31, 29, 3), np.uint8), 1, 0.5) == value).all()


def moved_before(images, random, flips, shift):
    """The code that moved images before there was a kernel: training must draw and give the same bits."""
    count, height, width, _ = images.shape
    down = random.uniform(-shift, shift, count) * height
    right = random.uniform(-shift, shift, count) * width
    turned = random.random((count, 2)) < 0.5
    result = np.empty_like(images)
    for k in range(count):
        rows = np.clip(np.arange(height) + round(down[k]), 0, height - 1)
        columns = np.clip(np.arange(width) + round(right[k]), 0, width - 1)
        rows = rows[::-1] if flips == "both" and turned[k, 0] else rows
        columns = columns[::-1] if flips != "none" and turned[k, 1] else columns
        result[k] = images[k][rows[:, None], columns]
    return result


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.5])
def test_batches_are_the_bits_that_they_were_before_the_kernel(tmp_path, channels, flips, shift):
    from pipeline.loader.draws import Augmentation
    from pipeline.loader.reading import Loader

    pixels = np.random.default_rng(1).integers(0, 256, (50, 21, 26, channels), np.uint8)
    np.save(tmp_path / "train.images.npy", pixels)
    images = np.load(tmp_path / "train.images.npy", mmap_mode="r")
    random = np.random.default_rng([7, 3])
    random.integers(2**63)
    order = [np.sort(rows) for rows in np.array_split(random.permutation(50), 4)]
    loader = Loader(images, batch_size=16, augmentation=Augmentation(flips, shift), seed=7)
    for rows, batch in zip(order, loader.epoch(3), strict=True):
        assert (batch.rows == rows).all()
        assert (batch.images == moved_before(pixels[rows], random, flips, shift)).all()


def test_a_shift_beyond_the_image_repeats_its_edge():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    out, still = np.empty_like(image), np.zeros((1, 2), bool)
    kernel.move(addresses(image), np.array([[9, -9]]), still, out)
    assert (out == image[0, 2, 0, 0]).all()
    kernel.move(addresses(image), np.array([[-9, 9]]), ~still, out)
    assert (out == image[0, 0, 3, 0]).all()
