import numpy as np

from pipeline import leakage
from pipeline.examination import text


def test_a_sample_holds_whole_contents() -> None:
    contents = [str(k % 300) for k in range(900)]
    chosen = leakage.sampled(contents, 100)
    numbers = {content for content, taken in zip(contents, chosen, strict=True) if taken}
    assert 60 < len(numbers) < 140 and chosen.sum() == 3 * len(numbers)
    assert leakage.sampled(contents, 300).all()


def test_wilson_interval() -> None:
    low, high = leakage.wilson(0.8, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)


def test_a_score_counts_equal_and_near_rows_on_both_sides() -> None:
    contents = np.array([0, 1, 2, 3, 0, 4])
    rows = leakage.Rows(contents, np.array(["x", "y"] * 3, object), np.array([""] * 6, object), np.array([[1, 4]]))
    x = np.eye(5, dtype=np.float32)
    score = leakage._score(rows, x, text, np.array([0, 1]), np.array([2, 3, 4, 5]))
    assert (score.seen, score.train, score.test) == (0.5, 2, 4)  # row 4 is equal to row 0, row 5 near row 1
