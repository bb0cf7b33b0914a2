import json
import math
import multiprocessing
import random

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

from pipeline.pruners import halving, hyperband, median, none
from pipeline.search import journal, space
from pipeline.search.journal import LIVES, Study

ONE = {"x": FloatDistribution(0, 1)}


HELD = []


@pytest.fixture(autouse=True)
def let_go():
    yield
    while HELD:
        HELD.pop().close()


def take(study, most=100, seed=0):
    lease = study.take(ONE, most, lambda number: RandomSampler(seed=seed + number))
    if lease is not None:
        HELD.append(lease)
    return lease


def states(study):
    return [trial.state.name for trial in study.trials()]


def test_trials_end_as_they_are_told_and_what_is_no_number_never_wins(tmp_path):
    study = Study(tmp_path, "minimize")
    for value in (0.5, math.nan, math.inf, 0.3, 0.3):
        study.complete(take(study), value)
    study.fail(take(study), "the loss is nan")
    study.prune(take(study), "after epoch 1")
    assert states(study) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    best = study.best()
    assert best is not None and (best.number, best.value) == (3, 0.3)  # of equals the first
    assert study.trials()[1].user_attrs["error"] == "its value is nan"
    assert journal.best(study.trials(), "maximize").number == 0
    assert Study(tmp_path, "minimize").best().number == 3


def test_no_more_trials_than_asked_for_and_more_go_on_with_the_study(tmp_path):
    study = Study(tmp_path, "minimize")
    for _ in range(2):
        study.complete(take(study, 2), 1.0)
    assert take(study, 2) is None
    again = Study(tmp_path, "minimize")
    assert take(again, 3).number == 2


def test_a_trial_is_drawn_by_its_number_whoever_draws_it(tmp_path):
    one, other = Study(tmp_path / "a", "minimize"), Study(tmp_path / "b", "minimize")
    held = [take(one) for _ in range(4)]
    for k in range(4):
        lease = take(other)
        assert lease.params == held[k].params
        other.complete(lease, 1.0)


def test_an_orphan_is_taken_before_anything_new_and_by_one_worker_alone(tmp_path):
    study, other = Study(tmp_path, "minimize"), Study(tmp_path, "minimize")
    first, second = take(study), take(study)
    first.close()  # as the system does when its worker dies
    orphan = take(other)
    assert (orphan.number, orphan.params) == (0, first.params)
    assert take(study).number == 2  # neither the orphan, which is held again, nor the second, which never was left
    assert [trial.number for trial in study.trials()] == [0, 1, 2]
    second.close()


def test_a_worker_that_ends_its_trial_while_another_looks_leaves_no_orphan(tmp_path):
    study, other = Study(tmp_path, "minimize"), Study(tmp_path, "minimize")
    first = take(study)
    known = other.trials()

    def trials():
        """As read before the first worker told of its end."""
        if first.number is not None and study.trials()[0].state.name == "RUNNING":
            study.complete(first, 1.0)
        return known

    other.trials = trials
    assert take(other, most=1) is None
    del other.trials
    assert states(other) == ["COMPLETE"] and "deaths" not in other.trials()[0].user_attrs


def test_a_trial_that_kills_its_workers_fails_and_one_that_gets_on_does_not(tmp_path):
    study = Study(tmp_path, "minimize", none.build(none.Config(), 4))
    take(study).close()
    for death in range(LIVES - 1):
        lease = take(study, 1)
        assert lease.number == 0
        if death == 1:
            study.report(lease, 1, 0.5)
        lease.close()
    for _ in range(2):
        take(study, 1).close()
    assert states(study) == ["RUNNING"]
    while (lease := take(study, 1)) is not None:
        lease.close()
    assert states(study) == ["FAIL"]
    assert "workers in a row died" in study.trials()[0].user_attrs["error"]


def test_a_torn_line_is_cut_off_before_the_next_and_nothing_else_is_lost(tmp_path):
    study = Study(tmp_path, "minimize")
    for value in (0.5, 0.4):
        study.complete(take(study), value)
    whole = (tmp_path / journal.LOG).read_bytes()
    for cut in range(1, 120, 7):
        last = whole.rstrip(b"\n").rpartition(b"\n")[2]
        (tmp_path / journal.LOG).write_bytes(whole + last[: min(cut, len(last))])
        again = Study(tmp_path, "minimize")
        assert [trial.value for trial in again.trials()] == [0.5, 0.4]
        lease = take(again)
        again.complete(lease, 0.1)
        assert all(json.loads(line) for line in (tmp_path / journal.LOG).read_text().splitlines())
        assert len(Study(tmp_path, "minimize").trials()) == 3
    (tmp_path / journal.LOG).write_bytes(b"x" * 10_000)  # no whole line at all
    assert Study(tmp_path, "minimize").trials() == []


def _work(folder, number):
    study = Study(folder, "minimize")
    while (lease := take(study, 40, seed=number)) is not None:
        study.report(lease, 1, 0.5)
        study.complete(lease, random.random())


def test_workers_on_one_journal_share_the_trials(tmp_path):
    Study(tmp_path, "minimize")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(tmp_path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert states(Study(tmp_path, "minimize")) == ["COMPLETE"] * 40


PRUNERS = [
    (median, median.Config(startup=2, warmup=0)),
    (halving, halving.Config(first=1, factor=2)),
    (hyperband, hyperband.Config(first=1, factor=2)),
]


@pytest.mark.parametrize(("module", "config"), PRUNERS)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_pruner_ends_poor_trials_and_no_good_ones(tmp_path, module, config, direction):
    study = Study(tmp_path, direction, module.build(config, 4))
    sign = 1 if direction == "minimize" else -1
    ended = {}
    for place, level in enumerate([0.1, 0.12, *(0.5 + 0.01 * k for k in range(14)), 0.05]):
        lease = take(study)
        for epoch in range(1, 5):
            if study.report(lease, epoch, sign * level / epoch):
                study.prune(lease, f"after epoch {epoch}")
                ended[place] = epoch
                break
        else:
            study.complete(lease, sign * level / 4)
    assert 16 not in ended and 0 not in ended
    assert sum(place in ended for place in range(2, 16)) >= 7
    assert study.best().number == 16


def test_without_a_pruner_every_trial_goes_on(tmp_path):
    study = Study(tmp_path, "minimize", none.build(none.Config(), 4))
    for level in (0.1, 9.0, 99.0):
        lease = take(study)
        assert not any(study.report(lease, epoch, level) for epoch in range(1, 5))


def test_an_epoch_that_is_told_again_after_a_kill_counts_once(tmp_path):
    study = Study(tmp_path, "minimize", none.build(none.Config(), 4))
    lease = take(study)
    study.report(lease, 1, 0.5)
    study.report(lease, 1, 0.5)
    assert study.trials()[0].intermediate_values == {1: 0.5}


def test_epochs_that_are_told_again_after_a_kill_are_not_judged_again(tmp_path):
    study = Study(tmp_path, "minimize", median.build(median.Config(startup=1, warmup=0), 4))
    first, slow = take(study), take(study)
    assert not any(study.report(slow, epoch, 0.9) for epoch in (1, 2))  # nothing to compare with
    for epoch in range(1, 5):
        study.report(first, epoch, 0.5)
    study.complete(first, 0.5)
    assert not study.report(slow, 1, 0.9)
    assert study.report(slow, 2, 0.9)


def test_optunas_own_tools_read_the_journal(tmp_path):
    study = Study(tmp_path, "minimize")
    study.complete(take(study), 0.25)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / journal.LOG))
    found = optuna.load_study(study_name=journal.NAME, storage=optuna.storages.JournalStorage(backend))
    assert found.best_value == 0.25


def test_a_choice_that_is_a_mapping_comes_back_as_it_was(project):
    given = {
        "train.optimizer": [{"name": "sgd", "momentum": 0.9}, {"name": "adamw"}],
        "train.gradient_norm": [None, 1.0],
    }
    optimizer, norm = space.read(project(), given, 0).dimensions
    assert optimizer.read(optimizer.value(0)) == {"name": "sgd", "momentum": 0.9}
    assert norm.read(norm.value(0)) is None
