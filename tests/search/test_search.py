import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline import artifacts, check, config, training, tune
from pipeline.errors import PipelineError, TrainingError
from pipeline.fit.settings import Config
from pipeline.search import crew, journal, values, worker

ROOT = Path(__file__).parents[2]
RATE = "train.optimizer.learning_rate"


def study():
    (folder,) = (artifacts.STATE / "studies").iterdir()
    return journal.Study(folder, "minimize")


def left():
    return artifacts.read_json(artifacts.folder("tuned", "toy") / "study.json")


class Silent:
    def log(self, epoch, row):
        pass


def test_the_best_trials_values_are_what_train_uses_and_train_repeats_them(project):
    task = project(trials=6, pruner={"name": "halving", "factor": 2})
    tune.main(task)
    found, found_values = left(), artifacts.read_json(artifacts.folder("tuned", "toy") / "values.json")
    best = found["trials"][found["best"]]
    assert best["state"] == "completed"
    assert best["value"] == min(trial["value"] for trial in found["trials"] if trial["value"] is not None)
    assert found_values["train"]["optimizer"]["learning_rate"] == best["params"][RATE]
    assert found_values["model"]["dropout"] == best["params"]["model.dropout"]
    assert found_values["model"]["widths"] == [16]
    _, model = task.named("model", "models")
    train = config.parse(Config, found_values["train"], "train")
    fitted, _ = training.run(
        task,
        "mlp",
        replace(model, dropout=found_values["model"]["dropout"]),
        train,
        Path("c"),
        type("R", (), {"log": print})(),
    )
    assert min(row["validation_loss"] for row in fitted.history) == best["value"]
    rows = list(csv.DictReader((artifacts.folder("tuned", "toy") / "trials.csv").read_text("utf-8").splitlines()))
    assert [int(row["number"]) for row in rows] == list(range(6)) and float(rows[found["best"]]["loss"]) == best[
        "value"
    ]
    assert any(trial["state"] == "pruned" and trial["epochs"] < 4 for trial in found["trials"])
    assert set(found["importances"]) <= {RATE, "model.dropout"}
    every_trial_is_a_run_inside_the_stages()


def every_trial_is_a_run_inside_the_stages():
    journals = [path.read_text("utf-8").splitlines() for path in (artifacts.STATE / "journal").rglob("*.jsonl")]
    opened = {json.loads(lines[0])["name"]: json.loads(lines[0]) for lines in journals}
    assert set(opened) == {"toy/tune", *(f"toy/trial {number}" for number in range(6))}
    (above,) = {record["parent"] for name, record in opened.items() if "trial" in name}
    assert above.split("-")[-2] == "tune"
    for lines in journals:
        points = [json.loads(line) for line in lines if '"values"' in line]
        if "trial" in json.loads(lines[0])["name"]:
            assert [point["step"] for point in points] == list(range(1, len(points) + 1))
            assert RATE in json.loads(lines[0])["params"]


def searched(task, name="study"):
    """The study that one worker, in this process, makes of a task's search."""
    folder = Path(name)
    folder.mkdir(exist_ok=True)
    worker.hand_out(task, {}, folder)
    worker.work(folder)
    found = journal.Study(folder, "minimize").trials()
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values, dict(t.user_attrs)) for t in found]


def test_one_worker_and_a_budget_of_trials_repeat_bit_for_bit(project):
    task = project(trials=6, sampler={"name": "tpe", "startup": 2}, pruner={"name": "halving", "factor": 2})
    first = searched(task, "a")
    assert searched(task, "b") == first
    assert len({json.dumps(params) for _, _, _, params, _, _ in first}) == 6
    assert {"COMPLETE", "PRUNED"} == {state for _, state, *_ in first}
    assert searched(project(trials=6, seed=1), "c") != first


def test_a_broken_off_study_goes_on_to_what_an_unbroken_one_gives(project, monkeypatch):
    task = project(trials=6, sampler={"name": "tpe", "startup": 2}, pruner={"name": "halving", "factor": 2})
    unbroken = searched(task, "a")
    assert "PRUNED" in {trial[1] for trial in unbroken}

    def breaks(done=[0]):  # noqa: B006  counts the epochs of all trials
        done[0] += 1
        return done[0] in (3, 7, 8)

    log = worker.Recorder.log

    def log_and_break(self, epoch, row):
        log(self, epoch, row)
        if epoch > len(seen.setdefault(self.lease.number, [])):
            seen[self.lease.number].append(epoch)
            if breaks():
                raise OSError(5, "as if killed")

    seen: dict[int, list[int]] = {}
    monkeypatch.setattr(worker.Recorder, "log", log_and_break)
    broken = 0
    while True:
        try:
            found = searched(task, "b")
            break
        except OSError:
            broken += 1
    assert broken == 3
    assert [trial[:5] for trial in found] == [trial[:5] for trial in unbroken]


def test_more_trials_go_on_with_the_study_and_another_space_does_not(project):
    first = searched(project(trials=2))
    assert searched(project(trials=4))[:2] == first
    task, more, other = project(trials=2), project(trials=9, minutes=3, workers=2), project(trials=2, seed=1)
    words = [tune.fingerprint(t, t.section("tune", tune.Config), values.of(t)) for t in (task, more, other)]
    assert words[0] == words[1] != words[2]


def test_a_trial_is_worth_the_epoch_that_train_keeps_of_an_average_too(project):
    task = project(trials=2, train={"epochs": 8, "average": {"kind": "swa", "start": 0.5}, "batch_size": 16})
    tune.main(task)
    found, kept = left(), artifacts.read_json(artifacts.folder("tuned", "toy") / "values.json")
    _, model = config.named("models", kept["model"], "model")
    fitted, _ = training.run(task, "mlp", model, config.parse(Config, kept["train"], "train"), Path("c"), Silent())
    assert fitted.best_epoch > 4
    assert found["trials"][found["best"]]["value"] == fitted.history[fitted.best_epoch - 1]["validation_loss"]
    assert min(row["validation_loss"] for row in fitted.history) < found["trials"][found["best"]]["value"]


def test_the_code_that_judges_and_draws_begins_a_new_study(project, monkeypatch, tmp_path):
    task = project(trials=1)
    first = tune.fingerprint(task, task.section("tune", tune.Config), values.of(task))
    for name in ("metrics", "pruners", "samplers", "search"):
        shutil.copytree(ROOT / "pipeline" / name, tmp_path / "copy" / name)
    for name in ("training.py", "tune.py"):
        shutil.copyfile(ROOT / "pipeline" / name, tmp_path / "copy" / name)
    monkeypatch.setattr(tune, "__file__", str(tmp_path / "copy" / "tune.py"))
    assert tune.fingerprint(task, task.section("tune", tune.Config), values.of(task)) == first
    for path in ("search/worker.py", "samplers/tpe.py", "pruners/halving.py", "metrics/classes.py", "training.py"):
        with (tmp_path / "copy" / path).open("a") as file:
            file.write("#")
        now = tune.fingerprint(task, task.section("tune", tune.Config), values.of(task))
        assert now != first
        first = now


def test_workers_do_what_the_stage_began_with_whatever_params_say_now(project):
    task = project(trials=1)
    folder = Path("study")
    folder.mkdir()
    worker.hand_out(task, {}, folder)
    project(trials=9, space={"train.epochs": [1, 2]})
    worker.work(folder)
    (trial,) = journal.Study(folder, "minimize").trials()
    assert set(trial.params) == {RATE, "model.dropout"} and len(trial.intermediate_values) == 4


def test_after_its_minutes_a_search_ends_with_the_trial_at_work(project, monkeypatch):
    task, folder = project(trials=5), Path("study")
    log = worker.Recorder.log

    def log_and_break(self, epoch, row):
        log(self, epoch, row)
        if epoch == 2:
            raise OSError(5, "as if killed")

    monkeypatch.setattr(worker.Recorder, "log", log_and_break)
    with pytest.raises(OSError, match="as if killed"):
        searched(task)
    monkeypatch.setattr(worker.Recorder, "log", log)
    (folder / worker.OVER).touch()
    assert [trial[1] for trial in searched(task)] == ["COMPLETE"]


class Dying(crew.Crew):
    """Whose workers die at once."""

    def _start(self, number):
        self._running[number] = subprocess.Popen(["sh", "-c", "kill -9 $$"])


def test_a_search_gives_up_whose_workers_only_die(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "DEATHS", 5)
    monkeypatch.setattr(crew, "POLL", 0.01)
    with pytest.raises(TrainingError, match="the 5th death in a row without an epoch in between"):
        Dying("toy", journal.Study(tmp_path, "minimize"), 2, None, "").work()


def test_a_worker_that_ends_with_an_error_leaves_the_others_time_for_their_checkpoints(tmp_path):
    class Failing(crew.Crew):
        """Of whose workers the first fails, and the second writes a file when it is asked to stop."""

        def _start(self, number):
            kept = f"trap 'sleep 0.5; echo > {tmp_path}/kept; exit 143' TERM"
            wait = f"{kept}; echo > {tmp_path}/up; while :; do sleep 0.05; done"
            fail = f"while [ ! -f {tmp_path}/up ]; do sleep 0.05; done; exit 4"
            self._running[number] = subprocess.Popen(["sh", "-c", wait if number else fail])

    with pytest.raises(PipelineError, match="a worker ended with 4"):
        Failing("toy", journal.Study(tmp_path, "minimize"), 2, None, "").work()
    assert (tmp_path / "kept").is_file()


def test_the_first_trial_has_the_tasks_own_values_unless_it_is_to_be_drawn(project):
    own = {"optimizer": {"learning_rate": 0.003}}
    first, second = (trial[3] for trial in searched(project(trials=2, train=own), "a"))
    assert first == {RATE: 0.003, "model.dropout": 0.2} != second
    assert searched(project(trials=1, train=own, own_first=False), "b")[0][3] != first
    (outside,) = searched(project(trials=1, train={"optimizer": {"learning_rate": 0.9}}), "c")
    assert outside[3][RATE] < 0.1 and outside[3]["model.dropout"] == 0.2


def test_a_trial_at_its_end_is_complete_whatever_the_pruner_thinks(project):
    pruner = {"name": "halving", "first": 1, "factor": 2}
    for epochs in (2, 3):
        found = searched(project(trials=8, pruner=pruner, train={"epochs": epochs, "patience": 9}), f"of {epochs}")
        assert {(len(trial[4]), trial[1]) for trial in found} == {(1, "PRUNED"), (epochs, "COMPLETE")}


def test_a_trial_whose_last_epoch_ends_after_the_minutes_is_complete(project, monkeypatch):
    task, folder = project(trials=3), Path("study")
    log = worker.Recorder.log

    def log_then(self, epoch, row):
        if self.lease.number == 1 and epoch == 4:
            (folder / worker.OVER).touch()
        log(self, epoch, row)

    monkeypatch.setattr(worker.Recorder, "log", log_then)
    assert [trial[1] for trial in searched(task)] == ["COMPLETE"] * 2


def test_a_grid_is_tried_whole_and_no_further(project):
    grid = {RATE: [0.001, 0.01, 0.1], "model.dropout": [0.0, 0.5]}
    found = searched(project(trials=50, space=grid, sampler={"name": "grid"}))
    tried = Counter((params[RATE], params["model.dropout"]) for _, _, _, params, _, _ in found)
    assert tried == Counter({(rate, dropout): 1 for rate in grid[RATE] for dropout in grid["model.dropout"]})


def test_a_trial_that_diverges_has_failed_and_never_wins(project):
    optimizers = [{"name": "sgd", "learning_rate": 99.0}, {"name": "adamw"}]
    train = {"gradient_norm": None, "l1": 10.0, "loss": {"name": "cross_entropy"}}
    task = project(trials=2, space={"train.optimizer": optimizers}, sampler={"name": "grid"}, train=train)
    found = {params["train.optimizer"]: (state, attrs) for _, state, _, params, _, attrs in searched(task)}
    state, attrs = found[json.dumps(optimizers[0], sort_keys=True)]
    assert state == "FAIL" and "expected" in attrs["error"]
    assert found[json.dumps(optimizers[1])][0] == "COMPLETE"
    assert journal.Study(Path("study"), "minimize").best().params["train.optimizer"] == json.dumps(optimizers[1])


@pytest.mark.slow
def test_a_search_without_a_completed_trial_ends_with_the_first_reason(project):
    space = {"train.optimizer": [{"name": "sgd", "learning_rate": 99.0}]}
    task = project(trials=1, space=space, train={"gradient_norm": None, "l1": 10.0})
    with pytest.raises(TrainingError, match=r"no completed trial among 1 trial \(1 failed\).*learning_rate"):
        tune.main(task)
    assert not artifacts.folder("tuned", "toy").exists()


@pytest.mark.slow
def test_a_search_ends_with_its_minutes(project):
    task = project(trials=1000, minutes=0.15, train={"epochs": 3, "patience": 1000})
    started = time.monotonic()
    tune.main(task)
    assert time.monotonic() - started < 60
    assert 1 <= len(left()["trials"]) < 1000
    assert all(trial["state"] != "unfinished" for trial in left()["trials"])


def test_the_check_names_what_a_search_cannot_be(project):
    project(trials=3, space={RATE: {"low": 1.0, "high": 0.1}})
    assert [str(error) for error in check.faults(sources_of=[])] == [
        f"params.yaml: tasks.toy.tune.space.{RATE}.low: found 1 with high 0.1; expected less than high; swap them"
    ]


def start(said=subprocess.PIPE):
    command = [sys.executable, "-m", "pipeline.tune", "toy"]
    return subprocess.Popen(command, stderr=said, text=True, start_new_session=True)


def workers(process):
    """Of a stage at work, as they are now."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "pipeline.search.worker" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_a_stopped_search_leaves_no_worker_and_goes_on(project):
    project(trials=4, train={"epochs": 400, "patience": 400})
    with start() as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not list(Path(".danlu/studies").glob("*/trials/*/last.pt")):
            time.sleep(0.05)
        held = workers(process)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(30) == 143, said
    assert held and not psutil.wait_procs(held, timeout=5)[1]
    assert study().trials()[0].state.name == "RUNNING"
    project(trials=1, train={"epochs": 400, "patience": 400})
    with start() as process:
        said = process.stderr.read()
        assert process.wait(120) == 0, said
    assert "going on with a study of 1 trial\n" in said
    (trial,) = left()["trials"]
    assert trial["state"] == "completed" and trial["epochs"] == 400


def at_work():
    """Whether a trial has begun and not ended."""
    return any(trial.state.name == "RUNNING" for path in artifacts.STATE.glob("studies/*") for trial in
               journal.Study(path, "minimize").trials())  # fmt: skip


def kill_and_count(project, whom, moments, many=10):
    """Kills `whom` at `many` random moments, and starts the stage again where it ended, until it ends by itself."""
    import random

    random.seed(moments)
    settings = {"trials": 24, "workers": 2, "train": {"epochs": 100, "patience": 100}}
    project(**settings)
    kills, said = 0, Path("said.txt").open("w")  # noqa: SIM115  closed below
    process = start(said)
    try:
        while True:
            time.sleep(random.uniform(0.3, 5.0))
            if process.poll() is not None:
                if process.returncode == 0:
                    break
                assert process.returncode == -signal.SIGKILL, Path("said.txt").read_text()
                process = start(said)
                continue
            victims = workers(process)
            if kills >= many or not victims or not at_work():
                continue
            kills += 1
            if whom == "one":
                random.choice(victims).kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)  # the stage too, at times before its workers notice
                assert not psutil.wait_procs(victims, timeout=10)[1]
    finally:
        process.kill()
        process.wait()
        said.close()
    assert kills == many


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("whom", ["one", "all"])
def test_no_kill_loses_a_trial_or_runs_one_twice(project, whom):
    kill_and_count(project, whom, 5)
    found = left()
    assert [trial["number"] for trial in found["trials"]] == list(range(24))
    assert {trial["state"] for trial in found["trials"]} == {"completed"}
    assert {trial["epochs"] for trial in found["trials"]} == {100}
    points = Counter()
    for path in (artifacts.STATE / "journal").rglob("*.jsonl"):
        lines = path.read_text("utf-8").splitlines()
        if not lines:  # killed before its first line
            continue
        opened = json.loads(lines[0])
        if "trial" in opened["name"]:
            points[opened["name"]] += any('"end"' in line for line in lines)
    assert points == Counter({f"toy/trial {number}": 1 for number in range(24)})  # each was ended once
