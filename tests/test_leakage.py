import numpy as np

from pipeline import leakage
from pipeline.examination import text


def test_a_sample_holds_near_contents_together_and_grows_by_whole_groups() -> None:
    contents = [str(k) for k in range(900)]
    near = np.array([[k, k + 1] for k in range(900) if k % 3 < 2])
    chosen = leakage.sampled(contents, near, 300)
    assert chosen.sum() == 300 and (np.ptp(chosen.reshape(300, 3).astype(int), axis=1) == 0).all()
    assert 80 < np.flatnonzero(chosen[::3]).mean() < 220  # from all over
    fewer = leakage.sampled(contents, near, 150)
    assert fewer.sum() == 150 and chosen[fewer].all()
    assert leakage.sampled(contents, near, 900).all()
    assert leakage.sampled(contents, np.array([[k, k + 1] for k in range(899)]), 10).sum() == 10  # one chain


def test_wilson_interval() -> None:
    low, high = leakage.wilson(0.8, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)


def test_a_score_counts_equal_and_near_rows_on_both_sides() -> None:
    contents = np.array([0, 1, 2, 3, 0, 4])
    rows = leakage.Rows(contents, np.array(["x", "y"] * 3, object), np.array([""] * 6, object), np.array([[1, 4]]))
    x = np.eye(5, dtype=np.float32)
    score = leakage._score(rows, x, text, np.array([0, 1]), np.array([2, 3, 4, 5]))
    assert (score.seen, score.train, score.test) == (0.5, 2, 4)  # row 4 is equal to row 0, row 5 near row 1
