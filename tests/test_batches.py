import numpy as np
import pytest

from pipeline import batches
from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.texts import Texts

IMAGE = ImageInputs(6, 8, 1, (0.5,), (0.5,))
TEXT = TextInputs(100, 12)


def texts(sizes):
    ids = np.arange(2, 2 + sum(sizes)) % 98 + 2
    rows = [part.tolist() for part in np.split(ids, np.cumsum(sizes)[:-1])]
    count = len(sizes)
    return Split(np.zeros(count, np.int64), np.ones((count, 1), np.float32), texts=Texts.of(rows))


def images(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 8, 1), np.uint8)
    return Split(np.zeros(count, np.int64), np.ones((count, 1), np.float32), images=pixels)


def test_an_epoch_has_every_row_once_in_batches_of_even_size():
    for split, inputs in ((images(130), IMAGE), (texts(np.arange(130) % 20), TEXT)):
        found = batches.shuffled(split, inputs, 32, np.random.default_rng(0))
        assert sorted(np.concatenate(found)) == list(range(130))
        assert {len(rows) for rows in found} == {26}


def test_another_epoch_has_another_order():
    first, other = (batches.shuffled(images(50), IMAGE, 16, np.random.default_rng(k))[0] for k in (0, 1))
    assert first.tolist() != other.tolist()


def test_bucketed_texts_are_padded_little():
    split = texts(np.random.default_rng(0).gamma(2, 20, 10_000).astype(int) + 1)
    inputs = TextInputs(100, 128)
    found = batches.shuffled(split, inputs, 32, np.random.default_rng(0))
    read = [batches.read(split, rows, inputs) for rows in found]
    assert sum((ids > 0).sum() for ids in read) / sum(ids.size for ids in read) > 0.93


def test_texts_are_cut_and_padded_with_zero():
    split = texts([2, 0, 20])
    ids = batches.read(split, np.array([2, 0, 1]), TEXT)
    assert ids.dtype == np.int64
    assert ids[0].tolist() == list(range(6, 18))
    assert ids[1].tolist() == [4, 5, *[0] * 10]
    assert not ids[2].any()


def test_texts_without_any_token_are_one_padding_token():
    assert batches.read(texts([0, 0]), np.array([0, 1]), TEXT).tolist() == [[0], [0]]


def test_a_share_of_tokens_becomes_unknown_but_never_padding():
    ids = np.full((100, 10), 7)
    ids[:, 8:] = 0
    blanked = batches.blanked(ids, np.random.default_rng(0), 0.25)
    assert (blanked[:, :8] == 1).mean() == pytest.approx(0.25, abs=0.05)
    assert not blanked[:, 8:].any()
