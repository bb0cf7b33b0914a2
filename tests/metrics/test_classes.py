import tracemalloc

import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline import metrics
from pipeline.errors import ConfigError, DataError
from pipeline.targets import Target

CLASSES = ["a", "b", "c"]
TARGET = Target("classes", tuple(CLASSES))


def predictions(size: int, skill: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of three uneven classes and probabilities that lean towards them, rounded so that scores tie."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, size, p=[0.6, 0.3, 0.1])
    logits = random.normal(size=(size, 3)) + skill * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rounded = np.maximum(probabilities.round(2), 0.01)
    return labels, rounded / rounded.sum(axis=1, keepdims=True)


def test_every_metric_equals_scikit_learns():
    labels, probabilities = predictions(400, 1.0)
    predicted = probabilities.argmax(axis=1)
    found = metrics.score(labels, probabilities, TARGET)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(labels, predicted)
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
        "macro_f1": f1.mean(),
        "roc_auc": reference.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "log_loss": reference.log_loss(labels, probabilities),
    }
    for k, name in enumerate(CLASSES):
        expected |= {f"precision/{name}": precision[k], f"recall/{name}": recall[k], f"f1/{name}": f1[k]}
    assert found == pytest.approx(expected)


def test_a_binary_group_sums_its_classes():
    probabilities = np.array([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [0.9, 0.05, 0.05]])
    found = metrics.score(np.array([1, 2, 0]), probabilities, TARGET, {"defect": ["b", "c"]})
    assert found["defect_accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match=r"binary\.defect: found 'd'"):
        metrics.score(np.array([1, 2, 0]), probabilities, TARGET, {"defect": ["d"]})


def test_a_class_never_seen_leaves_the_means_alone_and_an_undefined_area_is_left_out():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    found = metrics.score(np.array([0, 0]), probabilities, TARGET)
    assert found["macro_f1"] == found["balanced_accuracy"] == 1
    assert found["f1/c"] == 0
    assert "roc_auc" not in found


def test_intervals_hold_the_value_shrink_with_data_and_repeat():
    few, many = predictions(100, 1.0), predictions(10_000, 1.0)
    narrow, wide = metrics.interval(*many, TARGET, resamples=200), metrics.interval(*few, TARGET, resamples=200)
    for name in ("accuracy", "macro_f1", "roc_auc", "log_loss"):
        assert narrow[name].low < narrow[name].value < narrow[name].high
        assert narrow[name].high - narrow[name].low < (wide[name].high - wide[name].low) / 4
    share = narrow["accuracy"].value
    assert narrow["accuracy"].high - share == pytest.approx(1.96 * np.sqrt(share * (1 - share) / 10_000), rel=0.25)
    assert metrics.interval(*few, TARGET, resamples=200) == wide


def test_resamples_in_chunks_equal_those_at_once(monkeypatch):
    labels, probabilities = predictions(50, 1.0)
    at_once = metrics.interval(labels, probabilities, TARGET, resamples=64)
    monkeypatch.setattr(metrics, "CHUNK", 350)
    assert metrics.interval(labels, probabilities, TARGET, resamples=64) == at_once


def test_a_paired_gain_is_narrower_than_the_two_intervals_and_signed_towards_the_better():
    labels, weak = predictions(500, 0.5)
    strong = weak.copy()
    strong[:60] = np.eye(3)[labels[:60]]
    gain = metrics.paired_gain(labels, weak, strong, "accuracy", TARGET)
    alone = metrics.interval(labels, weak, TARGET)["accuracy"]
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < alone.high - alone.low
    assert metrics.paired_gain(labels, weak, strong, "log_loss", TARGET).low > 0
    assert metrics.paired_gain(labels, weak, weak, "macro_f1", TARGET) == metrics.Interval(0, 0, 0)
    with pytest.raises(ConfigError, match="metric: found 'f1'"):
        metrics.paired_gain(labels, weak, strong, "f1", TARGET)


def test_paired_gains_of_several_metrics_are_those_of_each_alone_and_narrower_at_a_lower_level():
    labels, weak = predictions(300, 0.5)
    strong = weak.copy()
    strong[:40] = np.eye(3)[labels[:40]]
    wanted = ["macro_f1", "recall/c", "roc_auc"]
    found = metrics.paired_gains(labels, weak, strong, wanted, TARGET, seed=3, resamples=200)
    assert list(found) == wanted
    for metric in wanted:
        assert found[metric] == metrics.paired_gain(labels, weak, strong, metric, TARGET, seed=3, resamples=200)
    inner = metrics.paired_gains(labels, weak, strong, wanted, TARGET, seed=3, resamples=200, level=0.9)
    for metric in wanted:
        outer, one = found[metric], inner[metric]
        assert outer.low <= one.low <= one.value == outer.value <= one.high <= outer.high
        assert one.high - one.low < outer.high - outer.low
    with pytest.raises(ConfigError, match="metric: found 'recall/d'"):
        metrics.paired_gains(labels, weak, strong, ["macro_f1", "recall/d"], TARGET)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0], [[np.nan, 0.5, 0.5]], "row 0 has a probability that is not finite"),
        ([0, 1], [[1.0, 0, 0]], "expected one row a label"),
        ([3], [[1.0, 0, 0]], r"found labels 3\.\.3"),
        ([], np.empty((0, 3)), "expected one row a label"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(labels, probabilities, message):
    with pytest.raises(DataError, match=message):
        metrics.score(np.array(labels, int), np.array(probabilities), TARGET)


def test_memory_does_not_grow_with_the_square_of_the_classes():
    random = np.random.default_rng(0)
    count, size = 300, 1000
    probabilities = random.dirichlet(np.ones(count), size)
    tracemalloc.start()
    found = metrics.score(
        random.integers(0, count, size), probabilities, Target("classes", tuple(map(str, range(count))))
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 <= found["macro_f1"] < 0.1
    assert peak < 60e6  # a dense table of examples and pairs of classes would take 720 MB
