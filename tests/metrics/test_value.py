import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from pipeline import metrics
from pipeline.errors import DataError
from pipeline.targets import Target

TARGET = Target("value", ("value",), 2.0, 1.5)


def predictions(size, seed=0, noise=1.0):
    """Values with ties, as ratings have them, and answers that lean towards them."""
    random = np.random.default_rng(seed)
    truth = random.choice([0.0, 1 / 3, 2 / 3, 1.0], size)[:, None] * 3
    return truth, (truth + noise * random.normal(size=(size, 1))).round(1)


def test_every_metric_equals_scikit_learns_and_scipys():
    truth, answers = predictions(200)
    assert metrics.score(truth, answers, TARGET) == pytest.approx(
        {
            "r2": reference.r2_score(truth, answers),
            "mae": reference.mean_absolute_error(truth, answers),
            "rmse": reference.root_mean_squared_error(truth, answers),
            "pearson": stats.pearsonr(truth[:, 0], answers[:, 0]).statistic,
            "spearman": stats.spearmanr(truth[:, 0], answers[:, 0]).statistic,
        }
    )


def test_a_resample_is_measured_as_the_rows_that_it_drew():
    truth, answers = predictions(40)
    drawn = np.random.default_rng(1).integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40)[None].astype(float)
    module = metrics.of("value")
    weighted = module.measure(module.facts(truth, answers, TARGET, None), weights)
    repeated = metrics.score(truth[drawn], answers[drawn], TARGET)
    assert {name: weighted[name][0] for name in repeated} == pytest.approx(repeated)


def test_large_values_lose_nothing():
    truth, answers = predictions(100)
    far = metrics.score(truth + 1e8, answers + 1e8, TARGET)
    assert far["r2"] == pytest.approx(metrics.score(truth, answers, TARGET)["r2"], rel=1e-5)


def test_where_nothing_varies_no_share_is_told():
    found = metrics.score(np.ones((5, 1)), np.full((5, 1), 2.0), TARGET)
    assert found == {"mae": 1.0, "rmse": 1.0}


def test_intervals_hold_the_value_and_a_smaller_error_is_a_gain():
    truth, weak = predictions(300)
    _, strong = predictions(300, noise=0.5)
    for name, found in metrics.interval(truth, weak, TARGET, resamples=200).items():
        assert found.low < found.value < found.high, name
    for name in metrics.of("value").HEADLINES:
        gain = metrics.paired_gain(truth, weak, strong, name, TARGET, resamples=200)
        assert 0 < gain.low <= gain.value <= gain.high, name


def test_what_does_not_fit_is_refused():
    truth, answers = predictions(5)
    with pytest.raises(DataError, match="one column and one row a value"):
        metrics.score(truth[:4], answers, TARGET)
    truth[2] = np.nan
    with pytest.raises(DataError, match="row 2 has the value nan"):
        metrics.score(truth, answers, TARGET)


def test_answers_agree_that_are_within_a_tenth_of_a_deviation():
    assert metrics.of("value").agreement(np.array([[1.0], [1.0]]), np.array([[1.14], [1.16]]), TARGET) == 0.5
