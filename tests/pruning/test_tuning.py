"""Fine-tuning of what was cut: how it differs from the training, and that a killed one goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import StoppedError
from pipeline.fit.settings import Freeze, Parallel
from pipeline.pruning import cutting, tuning
from pipeline.pruning.settings import Prune
from tests.pruning.subjects import TRAIN, accuracy, judge, learnt, tuner

KEPT = {"convolutions.0": 16, "embedding": 16}


@pytest.fixture(scope="module")
def subject_and_data():
    return learnt("textcnn")


def of(subject_and_data, folder, **settings):
    return tuner("textcnn", *subject_and_data, folder, **settings)


def state(made):
    return {name: value.clone() for name, value in made.net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_rate_is_lower_the_epochs_are_fewer_and_nothing_starts_or_freezes(subject_and_data, tmp_path):
    made = of(subject_and_data, tmp_path, rate=0.25)
    long = replace(TRAIN, epochs=30, patience=3, freeze=Freeze(epochs=2), init="pretrained", parallel=Parallel(2))
    made = replace(made, train=long)
    found = made.config(distilled=False)
    assert (found.epochs, found.patience) == (10, 10) and found.optimizer.learning_rate == pytest.approx(0.0075)
    assert found.freeze == Freeze() and found.init == "random" and found.parallel == Parallel()
    assert found.teacher is None and (found.loss, found.batch_size) == (long.loss, long.batch_size)


@pytest.mark.parametrize(("asked", "epochs", "tuned"), [(None, 30, 10), (None, 4, 2), (None, 1, 2), (7, 30, 7)])
def test_a_third_of_the_epochs_unless_so_many_are_asked_for(asked, epochs, tuned):
    assert Prune(epochs=asked).epochs_after(epochs) == tuned


def test_there_is_a_teacher_only_where_it_is_distilled(subject_and_data, tmp_path):
    made = of(subject_and_data, tmp_path, share=0.7, temperature=3)
    teacher = made.config(distilled=True).teacher
    assert (teacher.share, teacher.temperature) == (0.7, 3)
    assert made.taught.shape == (128, 2) and made.data.teacher is None


def test_a_cut_network_learns_again_and_differently_from_a_teacher(subject_and_data, tmp_path):
    subject, data = subject_and_data
    made = of(subject_and_data, tmp_path, epochs=3)
    found = {}
    for distilled in (False, True):
        cut = cutting.cut(subject, KEPT)
        before = judge(data)(cut)
        fitted = made.tune(f"cut-{distilled}", cut, distilled=distilled)
        after = judge(data)(cut)
        assert after[1] < before[1] and len(fitted.history) == 3 and not cut.net.training
        assert min(row["validation_loss"] for row in fitted.history) == pytest.approx(after[1], abs=1e-4)
        found[distilled] = state(cut)
    assert not same(found[False], found[True])


@pytest.mark.parametrize("distilled", [False, True])
def test_a_killed_run_goes_on_to_the_same_weights(subject_and_data, tmp_path, distilled):
    subject, _ = subject_and_data
    whole = cutting.cut(subject, KEPT)
    of(subject_and_data, tmp_path / "whole", epochs=3).tune("cut", whole, distilled=distilled)
    made, asked = of(subject_and_data, tmp_path / "killed", epochs=3), []

    def stop():
        asked.append(1)
        return len(asked) == 6  # within the second epoch

    with pytest.raises(StoppedError):
        replace(made, stop=stop).tune("cut", cutting.cut(subject, KEPT), distilled=distilled)
    assert (tmp_path / "killed/cut").is_dir()
    again = cutting.cut(subject, KEPT)
    fitted = made.tune("cut", again, distilled=distilled)
    assert same(state(again), state(whole)) and len(fitted.history) == 3
    once_more = cutting.cut(subject, KEPT)  # what has ended is not trained again
    made.tune("cut", once_more, distilled=distilled)
    assert same(state(once_more), state(whole))


def test_the_judge_tells_headline_and_loss_of_validation(subject_and_data):
    subject, data = subject_and_data
    found = tuning.answers(subject.trained.net, data)
    assert found.shape == (64, 2) and found.sum(axis=1) == pytest.approx(1, abs=1e-5)
    score, loss = tuning.judge(subject.trained.net, data, accuracy(data))
    assert score == (found.argmax(axis=1) == data.validation.labels).mean()
    assert loss == pytest.approx(-np.log(found[np.arange(64), data.validation.labels]).mean(), abs=1e-4)
