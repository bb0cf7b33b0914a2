"""Levels of smaller networks, families of parts, and the control beside them."""

from dataclasses import replace

import pytest

from pipeline.pruning import cutting, networks
from pipeline.pruning.path import Group, Level, Sensitivity
from tests.pruning.subjects import TRAIN, judge, learnt, tuner

WHOLE = Level(0.0, 0, 0.9, 0.30, 1.0, 1000)


def group(name, *levels):
    return Group(name, "x", 1024, [Level(0.5, kept, 0.9, loss, ms, size) for kept, loss, ms, size in levels])


ROWS = group("vocabulary", (512, 0.31, 1.0, 700), (256, 0.4, 1.0, 550))
VALUES = group("embedding", (16, 0.35, 0.9, 600))
FIRST = group("convolutions.0", (16, 0.33, 0.7, 950))
SECOND = group("convolutions.1", (16, 0.32, 0.6, 950))
TEXT = Sensitivity("accuracy", WHOLE, [FIRST, SECOND, ROWS, VALUES])


def names(sensitivity):
    return [[family.name for family in together] for together in networks.families(sensitivity)]


def test_of_a_text_the_bytes_are_cut_alone_and_then_with_the_time():
    assert names(TEXT) == [["bytes"], ["bytes", "time"]]
    assert names(replace(TEXT, groups=[FIRST, SECOND])) == [["time"]]
    assert names(replace(TEXT, groups=[ROWS])) == [["bytes"]]
    assert names(replace(TEXT, groups=[])) == []


@pytest.fixture(scope="module")
def subject_and_data():
    return learnt("textcnn")


def cost_of(subject):
    """By parameters: what single cuts save of it adds up but where they meet."""
    whole = cutting.numbers(subject.trained.net)
    return lambda made: (cutting.numbers(made.net) / whole, round(1000 * cutting.numbers(made.net) / whole))


def test_each_family_saves_its_own_share(subject_and_data):
    subject, _ = subject_and_data
    size, both = networks.families(TEXT)
    assert networks.kept(subject, TEXT, size, 0.2, cost_of(subject)) == {"vocabulary": 512}
    assert networks.kept(subject, TEXT, both, 0.2, cost_of(subject)) == {"vocabulary": 512, "convolutions.1": 16}
    assert networks.kept(subject, replace(TEXT, groups=[]), [], 0.2, cost_of(subject)) == {}


def test_more_is_cut_where_the_network_that_was_cut_saves_too_little(subject_and_data):
    """Alone the second convolution was to save 40 %; what was cut is measured, and saves nothing at first."""
    subject, _ = subject_and_data
    (time,) = networks.families(replace(TEXT, groups=[FIRST, SECOND]))[0]
    measured = []

    def cost(made):
        measured.append(made)
        return (1.0 if len(measured) == 1 else 0.5), 1000

    assert networks.kept(subject, TEXT, [time], 0.35, cost) == {"convolutions.0": 16, "convolutions.1": 16}
    assert len(measured) == 2


def smaller(subject, data, folder, goes_on=lambda one: True, **settings):
    settings = {"levels": (0.3, 0.5), "epochs": 1, "distil": "off"} | settings
    made = tuner("textcnn", subject, data, folder, **settings)
    return made, networks.smaller(subject, TEXT, made, judge(data), cost_of(subject), goes_on)


def test_every_level_of_every_family_is_cut_and_tuned(subject_and_data, tmp_path):
    subject, data = subject_and_data
    found = list(smaller(subject, data, tmp_path)[1])
    assert [one.name for one in found] == ["narrowed_1", "narrowed_2", "pruned_1", "pruned_2"]
    assert [one.saving for one in found] == [0.3, 0.5, 0.3, 0.5]
    sizes = [cutting.numbers(one.made.net) for one in found]
    assert sizes[0] > sizes[1] and sizes[2] > sizes[3]
    for one in found:
        assert not one.distilled and 0 <= one.before <= 1 and one.after == judge(data)(one.made)[0]
    assert "vocabulary" in found[0].kept and not any(name.startswith("conv") for name in found[0].kept)
    assert any(name.startswith("conv") for name in found[2].kept)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [0.2, 0.4, 0.8]), (0.55, [0.2, 0.4, 0.8, 0.6, 0.5]), (0.65, [0.2, 0.4, 0.8, 0.6, 0.7]), (0, [0.2, 0.1, 0.05])],
)
def test_from_the_first_level_that_fails_on_the_way_to_the_one_before_is_halved(most, expected):
    levels, found = networks.Levels((0.2, 0.4, 0.8)), []
    for saving in levels:
        found.append(saving)
        levels.tell(saving, passed=saving <= most)
    assert found == pytest.approx(expected)


def test_a_family_ends_near_the_first_that_is_refused(subject_and_data, tmp_path):
    subject, data = subject_and_data
    asked = []

    def goes_on(one):
        asked.append(one.name)
        return one.saving < 0.5

    found = list(smaller(subject, data, tmp_path, goes_on, levels=(0.5, 0.7))[1])
    assert [one.name for one in found] == asked
    assert [(one.name, one.saving) for one in found] == [
        ("narrowed_1", 0.5),
        ("narrowed_2", 0.25),  # and of 0.375 nothing else than of 0.25, since words go in 256s
        ("pruned_1", 0.5),
        ("pruned_2", 0.25),
        ("pruned_3", 0.375),
    ]
    assert found[1].kept == {"vocabulary": 512} and found[3].kept == {"vocabulary": 512, "convolutions.1": 16}


def test_a_repeated_run_cuts_alike_whatever_it_would_measure(subject_and_data, tmp_path):
    subject, data = subject_and_data
    before = [(one.name, one.kept, one.after) for one in smaller(subject, data, tmp_path)[1]]
    made = tuner("textcnn", subject, data, tmp_path, levels=(0.3, 0.5), epochs=1, distil="off")
    other = replace(TEXT, groups=[SECOND, replace(ROWS, levels=ROWS.levels[1:])])
    again = networks.smaller(subject, other, made, judge(data), lambda made: (0.1, 1), lambda one: True)
    assert [(one.name, one.kept, one.after) for one in again] == before


def test_distillation_is_taken_where_its_validation_loss_is_lower(subject_and_data, tmp_path, monkeypatch):
    subject, data = subject_and_data
    losses = {}
    for distil in ("off", "on"):
        made, found = smaller(subject, data, tmp_path / distil, distil=distil, levels=(0.3,), epochs=2)
        losses[distil] = judge(data)(next(iter(found)).made)[1]
    tuned = []
    made, found = smaller(subject, data, tmp_path / "auto", distil="auto", levels=(0.3, 0.5), epochs=2)
    real = type(made).tune
    monkeypatch.setattr(type(made), "tune", lambda self, name, *a, **k: (tuned.append(name), real(self, name, *a, **k)))
    first, second, *_ = found
    assert losses["on"] != losses["off"] and first.distilled is (losses["on"] < losses["off"])
    assert judge(data)(first.made)[1] == min(losses.values())
    suffix = "-distilled" if first.distilled else ""
    assert tuned[:3] == ["narrowed-0.3", "narrowed-0.3-distilled", f"narrowed-0.5{suffix}"]  # found out once
    assert second.distilled is first.distilled


def test_the_control_loses_nothing_and_is_trained_for_the_same_epochs(subject_and_data, tmp_path, monkeypatch):
    subject, data = subject_and_data
    made = tuner("textcnn", subject, data, tmp_path, levels=(0.3,), epochs=2)
    fits, real = {}, type(made).tune
    monkeypatch.setattr(
        type(made), "tune", lambda self, name, *a, **k: fits.setdefault(name, real(self, name, *a, **k))
    )
    before = {name: value.clone() for name, value in subject.trained.net.state_dict().items()}
    control = networks.control(subject, made, distilled=False)
    next(iter(networks.smaller(subject, TEXT, made, judge(data), cost_of(subject), lambda one: False)))
    assert {len(fit.history) for fit in fits.values()} == {2} and {"control", "narrowed-0.3"} <= fits.keys()
    assert cutting.numbers(control.net) == cutting.numbers(subject.trained.net)
    after = subject.trained.net.state_dict()
    assert all(before[name].equal(value) for name, value in after.items())
    assert any(not before[name].equal(value) for name, value in control.net.state_dict().items())
    assert made.epochs == 2 and made.settings.epochs_after(TRAIN.epochs) == 2
