import itertools
import random

import numpy as np
from PIL import Image, ImageEnhance

from pipeline import near


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((90, 90), Image.Resampling.BICUBIC) for pixels in small]


def pairs_of(images: list[Image.Image], distance: int = 8) -> list[list[int]]:
    hashes = np.array([near.dhash(image) for image in images], np.uint64)
    greys = np.stack([near.grey(image) for image in images])
    return near.images(hashes, greys, np.arange(len(images)), distance=distance, correlation=0.99).tolist()


def test_changed_copies_of_an_image_are_near_and_other_images_are_not() -> None:
    images = pictures(6)
    copies = [images[0].resize((70, 70)), ImageEnhance.Brightness(images[1]).enhance(0.8)]
    assert pairs_of(images + copies) == [[0, 6], [1, 7]]


def test_equal_hashes_without_correlation_are_not_near() -> None:
    images = [Image.new("L", (64, 64), level) for level in (0, 90, 90)]
    assert pairs_of(images) == []


def test_banding_finds_exactly_what_comparing_all_pairs_finds() -> None:
    chance = random.Random(0)
    words = [chance.getrandbits(64) for _ in range(60)]
    for word in words[:30]:
        words.append(word ^ sum(1 << bit for bit in chance.sample(range(64), chance.randrange(12))))
    hashes = np.array(words, np.uint64)
    pattern = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    greys = np.repeat(pattern, len(words), axis=0)
    for distance in (0, 3, 8):
        expected = [
            [a, b]
            for a, b in itertools.combinations(range(len(words)), 2)
            if (words[a] ^ words[b]).bit_count() <= distance
        ]
        found = near.images(hashes, greys, np.arange(len(words)), distance=distance, correlation=0.99)
        assert found.tolist() == expected
        assert expected


def test_texts_are_exactly_those_that_comparing_all_pairs_finds() -> None:
    chance = random.Random(2)
    texts = ["".join(chance.choices("一二三四五六七八", k=chance.randrange(1, 40))) for _ in range(150)]
    for text in texts[:60]:
        place = chance.randrange(len(text))
        texts.append(text[:place] + chance.choice("九十") + text[place + chance.randrange(2) :])
    texts += ["", "", texts[0], "一" * 5000, "一" * 4000]
    for jaccard in (0.5, 0.8, 1.0):
        expected = []
        for (a, one), (b, other) in itertools.combinations([(k, near.grams(text)) for k, text in enumerate(texts)], 2):
            if len(one & other) >= jaccard * len(one | other):
                expected.append([a, b])
        assert near.texts(texts, jaccard=jaccard).tolist() == expected
        assert expected


def test_similarity_on_the_threshold_counts_as_near() -> None:
    # 4 common 3-grams of 5: exactly 0.8, which floating point could miss.
    assert near.texts(["abcdef", "abcdefg"], jaccard=0.8).tolist() == [[0, 1]]


def test_nothing_in_nothing_out() -> None:
    assert near.texts([], jaccard=0.8).shape == (0, 2)
    empty = near.images(
        np.empty(0, np.uint64), np.empty((1, 64, 64), np.uint8), np.empty(0, int), distance=8, correlation=0.9
    )
    assert empty.shape == (0, 2)


def test_largest_group_follows_chains() -> None:
    assert near.largest_group(7, np.array([[0, 1], [1, 2], [4, 5]])) == 3
    assert near.largest_group(3, near.NO_PAIRS) == 1
    assert near.largest_group(0, near.NO_PAIRS) == 0
