import numpy as np

from pipeline.features import ngrams

CODES = np.array([0, 1, 0, 1, 0, 2, 0, 1])
OFFSETS = np.array([0, 5, 5, 6, 8])  # 01010 | | 2 | 01
SPAN = 3


def test_longer_ngrams_never_cross_texts_and_hold_no_unknown_code():
    places, keys = ngrams.Block.of(CODES, OFFSETS).longer(SPAN)
    assert places.tolist() == [0, 1, 2, 3, 6]
    assert keys.tolist() == [1, 3, 1, 3, 1]
    unknown = np.where(CODES == 1, -1, CODES)
    assert ngrams.Block.of(unknown, OFFSETS).longer(SPAN)[0].tolist() == []


def test_a_block_grows_along_the_known_ngrams():
    block = ngrams.Block.of(CODES, OFFSETS)
    block.grow(SPAN, np.array([1, 3]))
    assert block.numbers.tolist() == [0, 1, 0, 1, -1, -1, 0, -1]
    block.grow(SPAN, np.array([0 * SPAN + 0]))  # 0 1 0
    assert block.numbers.tolist() == [0, -1, 0, -1, -1, -1, -1, -1]
    block.grow(SPAN, np.zeros(0, np.int64))
    assert (block.numbers == -1).all() and block.size == 4
    assert CODES.tolist() == [0, 1, 0, 1, 0, 2, 0, 1]


def test_frequency_counts_a_text_once():
    keys, counts = ngrams.frequency(np.array([7, 7, 5, 7]), np.array([0, 0, 1, 3]))
    assert keys.tolist() == [5, 7] and counts.tolist() == [1, 2]


def test_blocks_are_whole_texts():
    assert list(ngrams.blocks(OFFSETS, 6)) == [(0, 3), (3, 4)]
    assert list(ngrams.blocks(OFFSETS, 1)) == [(0, 1), (1, 3), (3, 4)]
    assert list(ngrams.blocks(np.array([0]), 5)) == []
