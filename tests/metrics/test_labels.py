import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline import metrics
from pipeline.errors import ConfigError, DataError
from pipeline.targets import Target

TARGET = Target("labels", ("a", "b", "c"))


def predictions(size, seed=0, skill=1.5):
    """Labels of uneven shares and probabilities that lean towards them, rounded so that scores tie."""
    random = np.random.default_rng(seed)
    there = (random.random((size, 3)) < [0.6, 0.3, 0.08]).astype(np.float32)
    logits = random.normal(size=(size, 3)) + skill * (there - 0.5)
    return there, (1 / (1 + np.exp(-logits))).round(2).clip(0.01, 0.99)


def test_every_metric_equals_scikit_learns():
    there, answers = predictions(300)
    told = answers >= 0.5
    precision, recall, f1, _ = reference.precision_recall_fscore_support(there, told, zero_division=0)
    found = metrics.score(there, answers, TARGET)
    expected = {
        "macro_f1": f1.mean(),
        "micro_f1": reference.f1_score(there, told, average="micro"),
        "exact_match": reference.accuracy_score(there, told),
        "hamming_loss": reference.hamming_loss(there, told),
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
        "average_precision": reference.average_precision_score(there, answers, average="macro"),
        "roc_auc": reference.roc_auc_score(there, answers, average="macro"),
        "log_loss": np.mean([reference.log_loss(there[:, k], answers[:, k]) for k in range(3)]),
    }
    average = reference.average_precision_score(there, answers, average=None)
    area = reference.roc_auc_score(there, answers, average=None)
    for k, name in enumerate(TARGET.names):
        expected |= {f"precision/{name}": precision[k], f"recall/{name}": recall[k], f"f1/{name}": f1[k]}
        expected |= {f"average_precision/{name}": average[k], f"roc_auc/{name}": area[k]}
    assert found == pytest.approx(expected)


def test_a_label_that_is_neither_there_nor_told_leaves_the_means_alone():
    there, answers = predictions(50)
    there[:, 2], answers[:, 2] = 0, 0.1
    found = metrics.score(there, answers, TARGET)
    expected = reference.f1_score(there[:, :2], answers[:, :2] >= 0.5, average="macro")
    assert found["macro_f1"] == pytest.approx(expected)
    assert "roc_auc/c" not in found and "average_precision/c" not in found


def test_a_resample_is_measured_as_the_rows_that_it_drew():
    there, answers = predictions(40)
    drawn = np.random.default_rng(1).integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40)[None].astype(float)
    module = metrics.of("labels")
    weighted = module.measure(module.facts(there, answers, TARGET, None), weights)
    repeated = metrics.score(there[drawn], answers[drawn], TARGET)
    assert {name: weighted[name][0] for name in repeated} == pytest.approx(repeated)


def test_a_gain_is_above_0_for_the_better_also_of_an_error():
    there, weak = predictions(400, skill=0.5)
    strong = np.where(np.arange(400)[:, None] < 100, np.where(there > 0, 0.9, 0.1), weak)
    for name in metrics.of("labels").HEADLINES:
        gain = metrics.paired_gain(there, weak, strong, name, TARGET, resamples=200)
        assert 0 < gain.low <= gain.value <= gain.high, name


def test_what_does_not_fit_is_refused():
    there, answers = predictions(5)
    with pytest.raises(DataError, match="one column a label"):
        metrics.score(there[:, :2], answers, TARGET)
    answers[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3 has a probability that is not finite"):
        metrics.score(there, answers, TARGET)
    with pytest.raises(ConfigError, match="groups are of classes"):
        metrics.score(there, there, TARGET, {"x": ["a"]})


def test_agreement_is_of_whole_sets():
    a, b = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[0.6, 0.4], [0.6, 0.6]])
    assert metrics.of("labels").agreement(a, b, TARGET) == 0.5
