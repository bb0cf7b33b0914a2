"""Each operation on a batch, each image by its own amount, against torchvision's on every image by itself."""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from pipeline.augmentation import colours, filters, geometry

COUNT = 5
AMOUNTS = torch.tensor([0.0, 0.4, 1.0, 1.3, 1.9])
HUES = torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.45])
SIGMAS = torch.tensor([0.1, 0.5, 1.0, 1.7, 2.0])
THRESHOLDS = torch.tensor([0.0, 42.5, 128.0, 255.0, 256.0])
MOVES = geometry.Moves(
    np.array([0.0, 30, -75, 180, 5]),
    np.array([[0.0, 0], [3, -2], [0.5, 7.25], [-4, 1], [0, 0]]),
    np.array([1.0, 1.3, 0.6, 1, 2]),
    np.array([[0.0, 0], [20, 0], [0, -35], [10, 15], [0, 0]]),
)


def pictures(channels):
    """Smooth areas and grain, with a channel of one value, a black image and its like."""
    random = np.random.default_rng(0)
    rough = random.integers(20, 200, (COUNT, 6, 5, channels)).repeat(6, axis=1).repeat(6, axis=2)
    pixels = rough + random.integers(0, 40, rough.shape)
    pixels[3, :, :, 0] = 77
    pixels[4] = 10 * (pixels[4] > 128)
    return torch.from_numpy(pixels.astype(np.uint8))


def affine(image, k):
    translate, shear = MOVES.shifts[k].tolist(), MOVES.shears[k].tolist()
    return functional.affine(
        image, float(MOVES.angles[k]), translate, float(MOVES.scales[k]), shear, InterpolationMode.BILINEAR
    )


BITS = torch.tensor([0.0, 1, 4, 7, 8])
OPERATIONS = {  # ours on the batch, torchvision's on the k-th image
    "affine": (lambda images: geometry.affine(images, MOVES, "black"), affine),
    "brightness": (
        lambda images: colours.jitter(images, brightness=AMOUNTS),
        lambda image, k: functional.adjust_brightness(image, float(AMOUNTS[k])),
    ),
    "contrast": (
        lambda images: colours.jitter(images, contrast=AMOUNTS),
        lambda image, k: functional.adjust_contrast(image, float(AMOUNTS[k])),
    ),
    "saturation": (
        lambda images: colours.jitter(images, saturation=AMOUNTS),
        lambda image, k: functional.adjust_saturation(image, float(AMOUNTS[k])),
    ),
    "hue": (
        lambda images: colours.jitter(images, hue=HUES),
        lambda image, k: functional.adjust_hue(image, float(HUES[k])),
    ),
    "blur": (
        lambda images: filters.blurred(images, SIGMAS, 2.0),
        lambda image, k: functional.gaussian_blur(image, [13, 13], [float(SIGMAS[k])] * 2),
    ),
    "sharpness": (
        lambda images: filters.sharpened(images, AMOUNTS),
        lambda image, k: functional.adjust_sharpness(image, float(AMOUNTS[k])),
    ),
    "posterize": (
        lambda images: colours.posterized(images, BITS),
        lambda image, k: functional.posterize(image, int(BITS[k])),
    ),
    "solarize": (
        lambda images: colours.solarized(images, THRESHOLDS),
        lambda image, k: image if k == 4 else functional.solarize(image, float(THRESHOLDS[k])),
    ),
    "invert": (
        lambda images: colours.solarized(images, torch.zeros(COUNT)),
        lambda image, _: functional.invert(image),
    ),
    "autocontrast": (colours.autocontrasted, lambda image, _: functional.autocontrast(image)),
    "equalize": (colours.equalized, lambda image, _: functional.equalize(image)),
}
EXACT = {"posterize", "solarize", "invert", "equalize"}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_agrees_with_torchvision(name, channels):
    ours, theirs = OPERATIONS[name]
    images = pictures(channels)
    before = images.clone()
    found = ours(images)
    assert found.dtype == torch.uint8 and found.shape == images.shape and found.is_contiguous()
    assert torch.equal(images, before), "the batch that was given is left alone"
    for k, image in enumerate(images.permute(0, 3, 1, 2)):
        expected = theirs(image, k).permute(1, 2, 0)
        difference = (found[k].int() - expected.int()).abs()
        assert difference.max() <= (0 if name in EXACT else 1), f"image {k}"


def test_what_changes_nothing_changes_no_bit():
    images, one = pictures(3), torch.ones(COUNT)
    still = geometry.Moves(np.zeros(COUNT), np.zeros((COUNT, 2)), np.ones(COUNT), np.zeros((COUNT, 2)))
    assert torch.equal(geometry.affine(images, still), images)
    assert torch.equal(colours.jitter(images, one, one, one), images)
    assert torch.equal(filters.sharpened(images, one), images)
    assert (colours.jitter(images, hue=torch.zeros(COUNT)).int() - images.int()).abs().max() <= 1


def test_the_four_of_a_jitter_follow_each_other():
    images = pictures(3)
    amounts = 0.5 + AMOUNTS / 2
    alone = colours.jitter(colours.jitter(images, brightness=amounts), contrast=amounts)
    alone = colours.jitter(colours.jitter(alone, saturation=amounts), hue=HUES)
    found = colours.jitter(images, amounts, amounts, amounts, HUES)
    assert (found.int() - alone.int()).abs().float().mean() < 1


def test_what_lies_outside():
    images = torch.full((1, 8, 8, 1), 90, dtype=torch.uint8)
    images[:, :, :2] = 200
    moves = geometry.Moves(np.zeros(1), np.array([[3.0, 0]]), np.ones(1), np.zeros((1, 2)))
    lines = {outside: geometry.affine(images, moves, outside)[0, 4, :, 0].tolist() for outside in geometry.PADDING}
    assert lines["black"] == [0, 0, 0, 200, 200, 90, 90, 90]
    assert lines["edge"] == [200, 200, 200, 200, 200, 90, 90, 90]
    assert lines["reflection"] == [90, 200, 200, 200, 200, 90, 90, 90]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (7, 3)])
def test_small_and_odd_images(height, width):
    images = torch.randint(0, 256, (COUNT, height, width, 3), dtype=torch.uint8)
    for name, (ours, _) in OPERATIONS.items():
        assert ours(images).shape == images.shape, name
