import numpy as np

from pipeline import vocabulary
from pipeline.examples import Split, TextInputs


class Texts:
    def __init__(self, rows):
        self.rows, self.lengths = rows, np.array([len(row) for row in rows])

    def padded(self, rows, length):
        width = max(1, min(length, max(len(self.rows[row]) for row in rows)))
        return np.array([(self.rows[row] + [0] * width)[:width] for row in rows])


def test_each_text_counts_once_for_a_token_and_padding_for_none(monkeypatch):
    monkeypatch.setattr(vocabulary, "AT_ONCE", 2)
    rows = [[2, 2, 3], [3], [], [2, 1, 1, 4], [4, 4, 4, 4, 5]]
    split = Split(np.zeros(5, np.int64), np.ones((5, 1), np.float32), texts=Texts(rows))
    found = vocabulary.of(list("_?abcd"), split, TextInputs(6, 4))
    assert found.documents.tolist() == [0, 1, 2, 2, 2, 0]  # the fifth token is not read
    assert found.texts == 5 and found.words[2] == "a"
