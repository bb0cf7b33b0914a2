"""Several processes train the network that one trains; what dies is started again, what hangs is ended.

The ranks are real: torchrun and gloo, on toy data; see tests/fit/ranked.py for what they train.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from pipeline import distributed, network, pulse, ranks
from pipeline.config import parse
from pipeline.errors import ConfigError, StoppedError, TrainingError
from pipeline.fit import finding, hardware, settings
from pipeline.fit.settings import Parallel
from tests.fit import ranked, toys
from tests.fit.toys import equal

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def start(out, cases, processes=2, *, stop=lambda: False, **parallel):
    """Trains the cases on so many ranks and returns what was told of them."""
    told = []
    given = Parallel(processes=processes, **{"restarts": 0, "patience": 120.0} | parallel)
    words = [str(out), ",".join(cases)]
    job = ranks.Job(
        "tests.fit.ranked", words, given, out / "ranks", on_row=lambda step, row: told.append(row), stop=stop
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        ranks.run(job)
    assert not (out / "ranks").exists()
    return told


def read(out, case, number=0):
    return torch.load(out / f"{case}.{number}.pt")


def plain(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    start(out, ["images", "texts", "together", "mixed", "taught", "norm", "auto"])
    return out


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    out = tmp_path_factory.mktemp("four")
    start(out, ["images", "texts", "empty"], 4)
    return out


@pytest.mark.parametrize(
    ("world", "case"),
    [
        ("two", "images"),
        ("two", "texts"),
        ("two", "together"),
        ("two", "mixed"),
        ("two", "taught"),
        pytest.param("four", "images", marks=pytest.mark.slow),
        pytest.param("four", "texts", marks=pytest.mark.slow),
        pytest.param("four", "empty", marks=pytest.mark.slow),
    ],
)
def test_ranks_give_the_losses_and_the_weights_of_one(request, tmp_path, world, case):
    out = request.getfixturevalue(world)
    one, many = ranked.fit(case, tmp_path), read(out, case)
    assert len(one.history) == len(many["history"]) == ranked.CASES[case].epochs
    for name, value in one.state.items():
        assert value.dtype == torch.float64
        assert (value - many["state"][name]).abs().max() < 1e-6
    for ours, theirs in zip(plain(one.history), plain(many["history"]), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    for number in range(1, 2 if world == "two" else 4):
        assert equal(read(out, case, number)["state"], many["state"])


def test_the_batch_that_fits_is_found_where_one_rank_has_less_memory(two):
    assert read(two, "auto")["size"] == read(two, "auto", 1)["size"] == 16


def test_batch_norms_of_all_ranks_have_the_mean_of_their_statistics(two, tmp_path):
    first, second = read(two, "norm"), read(two, "norm", 1)
    assert equal(first["state"], second["state"]) and plain(first["history"]) == plain(second["history"])
    one = ranked.fit("norm", tmp_path)
    name = "body.2.running_mean"
    assert not torch.equal(first["state"][name], torch.zeros(8))
    assert torch.allclose(first["state"][name], one.state[name], atol=1e-5)  # parts of equal size: the mean is exact


@pytest.mark.slow
def test_a_killed_rank_is_started_again_and_the_weights_are_those_of_the_unbroken_run(
    two, tmp_path, monkeypatch, caplog
):
    caplog.set_level("WARNING")
    monkeypatch.setenv("SIGNALS", "1:3:9 0:13:9")
    told = start(tmp_path, ["images"], restarts=1)  # a checkpoint in between
    unbroken, found = read(two, "images"), read(tmp_path, "images")
    assert equal(unbroken["state"], found["state"])
    assert plain(told) == plain(found["history"]) == plain(unbroken["history"])  # each epoch is told once
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in said] == [
        "train: rank 1 died by signal 9 (SIGKILL) in epoch 1, after step 3",
        "train: rank 0 died by signal 9 (SIGKILL) in epoch 3, after step 13",
    ]


def test_deaths_count_in_a_row_without_a_newer_checkpoint(tmp_path, monkeypatch):
    """By the steps of the checkpoints that attempts leave: three deaths at one and the same are one too many."""
    begun = []

    class Attempt:
        last = 0

        def __init__(self, job, parts, last):
            self.saved = saved[len(begun)]
            begun.append(self)

        def watch(self):
            if self.saved != "done":
                raise ranks._DeathError("rank 0 died")

        def end(self):
            pass

    monkeypatch.setattr(ranks, "_Attempt", Attempt)
    job = ranks.Job("m", [], Parallel(processes=2, restarts=2), tmp_path / "ranks")
    saved = [0, 0, 5, 0, 10, 12, 20, "done"]
    ranks.run(job)
    assert len(begun) == len(saved)
    begun.clear()
    saved = [0, 5, 0, 5, 9]
    with pytest.raises(TrainingError, match="gave up after 2 restarts without a checkpoint in between"):
        ranks.run(job)
    assert len(begun) == 4


class Killing:
    """Ends a rank by SIGKILL within a moment after a step; as `stop`, it is asked every now and then."""

    def __init__(self, folder, which, step, delay):
        self.folder, self.which, self.step, self.delay = folder, which, step, delay
        self.killed = False

    def __call__(self):
        seen = pulse.read(self.folder / f"{self.which}.pulse")
        if seen and not self.killed and seen.step >= self.step:
            time.sleep(self.delay)
            os.kill(seen.pid, signal.SIGKILL)
            self.killed = True
        return False


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_runs_with_a_rank_killed_at_a_random_moment_end_right(two, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SLOW", "0.1")
    random = np.random.default_rng(0)
    unbroken = read(two, "images")
    for k in range(10):
        out = tmp_path / str(k)
        out.mkdir()
        killing = Killing(out / "ranks", int(random.integers(2)), int(random.integers(18)), random.uniform(0, 0.15))
        start(out, ["images"], restarts=1, stop=killing)
        assert killing.killed
        assert caplog.text.count("died by signal 9") == k + 1
        assert equal(unbroken["state"], read(out, "images")["state"])


@pytest.mark.slow
def test_a_rank_that_dies_too_often_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNALS", "1:7:9")
    with pytest.raises(
        TrainingError, match=r"rank 1 died by signal 9 \(SIGKILL\) in epoch 2, after step 7; .*0 restarts"
    ):
        start(tmp_path, ["images"])


@pytest.mark.slow
def test_a_rank_that_stands_still_ends_the_run_within_patience_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNALS", f"1:6:{signal.SIGSTOP.value}")
    before = psutil.Process().children(recursive=True)
    said = (
        r"rank 1 has made no step for \d+ s \(its process stands still\), in epoch 2, after step 6; .*patience \(4 s\)"
    )
    with pytest.raises(TrainingError, match=said):
        start(tmp_path, ["images"], patience=4.0, restarts=3)
    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.slow
def test_a_rank_for_which_the_others_wait_ends_the_run_and_is_named(tmp_path):
    with pytest.raises(
        TrainingError, match=r"train: rank 1 has made no step for \d+ s \(it hangs\), in epoch 2, after step 6"
    ):
        start(tmp_path, ["hang"], patience=4.0)


def test_a_number_that_is_none_on_one_rank_stops_all_and_names_its_part_of_the_batch(tmp_path):
    with pytest.raises(
        TrainingError, match=r"the loss is nan in epoch 2, step 7, with the batch of image \d+, "
    ) as error:
        start(tmp_path, ["nan"], restarts=3)
    assert error.value.exit_code == 3


@pytest.mark.slow
def test_a_batch_too_large_for_one_rank_is_computed_in_more_parts_by_all(tmp_path, caplog):
    caplog.set_level("WARNING")
    start(tmp_path, ["memory"])  # 5 rows a rank, of which 3 fit
    assert read(tmp_path, "memory")["parts"] == 2
    assert "in 1 parts (no room for 5); all ranks start again" in caplog.text


@pytest.mark.slow
def test_a_stopped_run_leaves_a_checkpoint_and_ends_as_the_unbroken_one(two, tmp_path, monkeypatch):
    monkeypatch.setenv("SLOW", "0.1")
    begun = []

    def seen():
        found = [pulse.read(tmp_path / "ranks" / f"{k}.pulse") for k in range(2)]
        begun.append(all(found) and min(one.step for one in found) >= 6)
        return any(begun)

    with pytest.raises(StoppedError, match=r"stopped in epoch [234], after step \d+; .* has the checkpoint") as error:
        start(tmp_path, ["images"], stop=seen)
    assert error.value.exit_code == 143
    monkeypatch.setenv("SLOW", "0")
    start(tmp_path, ["images"])
    unbroken, found = read(two, "images"), read(tmp_path, "images")
    assert equal(unbroken["state"], found["state"])
    assert plain(unbroken["history"]) == plain(found["history"])


STARTER = """
import sys
from pathlib import Path
from pipeline import ranks
from pipeline.fit.settings import Parallel
out = Path(sys.argv[1])
ranks.run(ranks.Job("tests.fit.ranked", [str(out), "images"], Parallel(processes=2), out / "ranks"))
"""


def test_no_rank_outlives_a_killed_starter_and_none_listens_to_other_machines(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOW", "5")
    with subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], cwd=ROOT) as starter:
        until = time.monotonic() + 120
        while not all((seen := pulse.read(tmp_path / f"ranks/{k}.pulse")) and seen.beats for k in range(2)):
            assert starter.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        all_of_them = psutil.Process(starter.pid).children(recursive=True)
        assert len(all_of_them) == 3  # torchrun and two ranks
        listening = [
            held.laddr.ip for one in all_of_them for held in one.net_connections() if held.status == psutil.CONN_LISTEN
        ]
        assert listening and {address.replace("::ffff:", "") for address in listening} <= {"127.0.0.1", "::1"}
        all_of_them[-1].suspend()  # even what stands still
        starter.kill()
    _, alive = psutil.wait_procs(all_of_them, timeout=5)
    assert not alive


def test_a_process_ends_with_the_one_that_it_is_tied_to(tmp_path):
    note = tmp_path / "pid"
    tied = "import os, time; from pipeline import rank; rank.tie(os.getppid()); "
    tied += f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    starter = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {tied!r}])"], cwd=ROOT
    )
    while not (note.exists() and note.read_text()):
        time.sleep(0.05)
    process = psutil.Process(int(note.read_text()))
    starter.kill()
    starter.wait()
    assert not psutil.wait_procs([process], timeout=5)[1]


def test_variables_of_other_launchers_make_no_rank_of_a_plain_run(monkeypatch, tmp_path):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert (distributed.rank(), distributed.world(), distributed.local(), pulse.rank()) == (0, 1, 0, 0)
    found = ranked.fit("short", tmp_path)  # would wait for the other rank
    assert len(found.history) == 1
    split = ranked.data("short").validation
    two = ranked.data("short").target
    assert network.predict(ranked.Plain(), split, toys.IMAGE, two).shape == (17, 2)


def test_every_rank_computes_a_batch_in_as_many_parts(monkeypatch, tmp_path):
    """5 rows for 2 ranks, 2 and 3 of them, in 3 parts at most."""
    monkeypatch.setattr("pipeline.distributed.even_norms", lambda net: None)
    seen = []
    for rank in range(2):
        for name, value in (("DANLU_STORE", ""), ("WORLD_SIZE", "2"), ("RANK", str(rank))):
            monkeypatch.setenv(name, value)
        data, config = ranked.data("short"), dataclasses.replace(ranked.STEPS, batch_size=5, accumulate=3)
        net = ranked.Plain()
        choices = hardware.choose(config, images=True, examples=47)
        found = finding.Found(5, 0.01, 3)
        stepper = finding.stepper(net, [net.body], data, config, choices, found)
        sizes = []
        net.register_forward_pre_hook(lambda net, given, sizes=sizes: sizes.append(len(given[0])))
        net.no_sync = contextlib.nullcontext
        with contextlib.closing(finding.feed(data, config, choices, 5).epoch(0)) as batches:
            stepper.step(next(batches), 1.0, None)
        seen.append(sizes)
    assert seen == [[1, 1], [1, 2]]


def test_a_pulse_tells_where_its_process_is(tmp_path, monkeypatch):
    assert pulse.read(tmp_path / "0.pulse") is None
    monkeypatch.setattr(pulse, "_current", None)
    pulse.beat()  # of a process that is alone, nothing
    pulse.start(tmp_path / "0.pulse")
    assert pulse.read(tmp_path / "0.pulse").place == "before its first step"
    pulse.at(3, 17)
    pulse.saved(15)
    pulse.beat(waits=True)
    seen = pulse.read(tmp_path / "0.pulse")
    assert (seen.pid, seen.place, seen.saved, seen.waits) == (os.getpid(), "in epoch 3, after step 17", 15, True)
    until = time.monotonic() + 20
    while not pulse.read(tmp_path / "0.pulse").alive:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert pulse.read(tmp_path / "0.pulse").beats == seen.beats == 3


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"batch_size": 4, "parallel": {"processes": 8}}, r"parallel\.processes: found 8; expected at most .*\(4\)"),
        ({"compile": "max-autotune", "parallel": {"processes": 2}}, r"compile: found max-autotune with parallel"),
        (
            {"compile": "default", "recompute": "stages", "parallel": {"processes": 2}},
            r"compile: found default with recompute: stages",
        ),
        ({"parallel": {"processes": 0}}, r"parallel\.processes: found 0"),
        ({"parallel": {"patience": 1}}, r"parallel\.patience: found 1"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(section, said):
    with pytest.raises(ConfigError, match=said):
        parse(settings.Config, section, "train")


def test_a_batch_norm_needs_two_examples_of_a_batch_on_each_rank(monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.distributed.world", lambda: 8)
    from pipeline.fit import feed, finding
    from tests.fit import toys

    read = feed.Feed(toys.images(40), toys.IMAGE, settings.Config(batch_size=8), 8, ["a", "b"])
    with pytest.raises(
        ConfigError, match=r"train\.parallel\.processes: found 8, with 1 of a batch's 8 examples for each"
    ):
        finding.require_rows(toys.toy(), read)
    finding.require_rows(ranked.Plain(), read)
