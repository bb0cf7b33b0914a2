import numpy as np

from pipeline.features import ngrams

CODES = np.array([5, 7, 5, 7, 5, 9, 5, 7])
OFFSETS = np.array([0, 5, 5, 6, 8])  # 57575 | | 9 | 57


def spelt(found):
    return {tuple(CODES[place : place + found.size]): k for k, place in enumerate(found.first)}


def test_grams_never_cross_documents():
    one, two, three = ngrams.grams(CODES, OFFSETS, 3)
    assert set(spelt(one)) == {(5,), (7,), (9,)}
    assert set(spelt(two)) == {(5, 7), (7, 5)}
    assert set(spelt(three)) == {(5, 7, 5), (7, 5, 7)}
    assert two.documents.tolist() == [0, 0, 0, 0, 3]


def test_frequency_counts_fitted_documents_once():
    _, two = ngrams.grams(CODES, OFFSETS, 2)
    kept, frequency = ngrams.frequent(two, 4, 1)
    found = dict(zip(kept.tolist(), frequency.tolist(), strict=True))
    assert found == {spelt(two)[(5, 7)]: 2, spelt(two)[(7, 5)]: 1}
    assert ngrams.frequent(two, 4, 2)[0].tolist() == [spelt(two)[(5, 7)]]
    assert ngrams.frequent(two, 1, 2)[0].tolist() == []


def test_counts_hold_what_has_a_column():
    _, two = ngrams.grams(CODES, OFFSETS, 2)
    columns = np.full(2, -1)
    columns[spelt(two)[(5, 7)]] = 0
    assert ngrams.counts(two, columns, 4, 1).toarray().tolist() == [[2], [0], [0], [1]]
