import itertools
import random

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipeline.near import images, kernels


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((90, 90), Image.Resampling.BICUBIC) for pixels in small]


def pairs_of(pictures: list[Image.Image], distance: int = 8) -> list[list[int]]:
    hashes = np.array([images.dhash(image) for image in pictures], np.uint64)
    greys = np.stack([images.grey(image) for image in pictures])
    rows = np.arange(len(pictures))
    return images.neighbours(hashes, greys, rows, distance=distance, correlation=0.99).tolist()


def test_changed_copies_of_an_image_are_near_and_other_images_are_not() -> None:
    some = pictures(6)
    copies = [some[0].resize((70, 70)), ImageEnhance.Brightness(some[1]).enhance(0.8)]
    assert pairs_of(some + copies) == [[0, 6], [1, 7]]


def test_equal_hashes_without_correlation_are_not_near() -> None:
    assert pairs_of([Image.new("L", (64, 64), level) for level in (0, 90, 90)]) == []


def test_images_of_one_colour_are_told_by_it_at_any_size() -> None:
    assert images.flat(Image.new("L", (9, 70), 255)) == images.flat(Image.new("RGB", (300, 40), "white")) == "#ffffff"
    assert images.flat(Image.new("RGB", (64, 64), (254, 1, 29))) == "#fe011d"
    red = Image.new("RGB", (64, 64), (255, 0, 0))
    red.paste((0, 130, 0), (0, 0, 32, 64))  # a green as light as the red
    assert np.ptp(images.grey(red)) <= 1 and images.flat(red) is None
    assert images.flat(pictures(1)[0]) is None


def test_bands_find_exactly_what_comparing_all_pairs_finds() -> None:
    chance = random.Random(0)
    words = [chance.getrandbits(64) for _ in range(60)]
    for word in words[:30]:
        words.append(word ^ sum(1 << bit for bit in chance.sample(range(64), chance.randrange(12))))
    hashes = np.array(words, np.uint64)
    greys = np.repeat(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), len(words), axis=0)
    for distance in (0, 3, 8, 31):
        expected = [
            [a, b]
            for a, b in itertools.combinations(range(len(words)), 2)
            if (words[a] ^ words[b]).bit_count() <= distance
        ]
        found = images.neighbours(hashes, greys, np.arange(len(words)), distance=distance, correlation=0.99)
        assert found.tolist() == expected
        assert expected


def test_equal_hashes_are_told_apart_before_all_pixels_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    stripes = np.repeat(rng.integers(10, 245, (600, 64, 1), dtype=np.uint8), 64, axis=2)
    copies = stripes[::20] + rng.integers(0, 9, (30, 64, 64), dtype=np.uint8)
    greys, looked = np.concatenate([stripes, copies]), []
    real = kernels.correlations
    monkeypatch.setattr(kernels, "correlations", lambda *given: looked.append(len(given[-1])) or real(*given))
    hashes, rows = np.zeros(len(greys), np.uint64), np.arange(len(greys))
    found = images.neighbours(hashes, greys, rows, distance=8, correlation=0.99)
    assert found.tolist() == [[20 * k, 600 + k] for k in range(30)]
    assert sum(looked) < 5 * len(greys)


@pytest.mark.parametrize("side", [8, 20, 64])
def test_no_two_points_are_farther_apart_than_their_greys(side: int) -> None:
    greys = np.random.default_rng(0).integers(0, 256, (40, side * side), dtype=np.uint8)
    greys[20:] = greys[:20] // 2 + greys[20:] // 8
    rows = np.arange(40)
    points = images._points(greys, rows, *kernels.moments(greys, rows))
    apart = ((points[:, None] - points) ** 2).sum(axis=2)
    assert (apart <= 2 * (1 - np.corrcoef(greys.astype(float))) + images.ROUNDING).all()


def test_pairs_that_do_not_fit_in_one_piece_come_in_the_next() -> None:
    hashes, points = np.zeros(9, np.uint64), np.zeros((9, 1), np.float32)
    state, found = np.array([0, 1], np.int64), []
    while state[0] < 8:
        piece = kernels.close(hashes, points, np.array([255], np.uint64), 0, 0.1, state, 5)
        assert len(piece) <= 5
        found += piece.tolist()
    assert found == [list(pair) for pair in itertools.combinations(range(9), 2)]


def test_correlation_is_that_of_numpy() -> None:
    greys = np.random.default_rng(0).integers(0, 256, (5, 64), dtype=np.uint8)
    rows = np.array([4, 2, 0])
    pairs = np.array([[0, 1], [1, 2], [0, 2]])
    found = kernels.correlations(greys, rows, *kernels.moments(greys, rows), pairs)
    table = np.corrcoef(greys[rows].astype(float))
    np.testing.assert_allclose(found, table[pairs[:, 0], pairs[:, 1]], atol=1e-12)


def test_nothing_in_nothing_out() -> None:
    none = np.empty((1, 64, 64), np.uint8)
    empty = images.neighbours(np.empty(0, np.uint64), none, np.empty(0, int), distance=8, correlation=0.9)
    assert empty.shape == (0, 2)
