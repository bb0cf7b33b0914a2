import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.tracking import provenance, runs, store
from pipeline.tracking.runs import Run

ROOT = Path(runs.__file__).parents[2]


def found(client=None):
    """Runs by name."""
    client = client or store.client()
    experiments = [item.experiment_id for item in client.search_experiments()]
    return {run.info.run_name: run for run in client.search_runs(experiments)}


def journals(folder="."):
    return sorted(path.name for path in Path(folder, ".danlu/journal").glob("*.jsonl"))


def points(run, name="loss"):
    return [(point.step, point.value) for point in store.client().get_metric_history(run.info.run_id, name)]


def test_a_run_brings_everything_to_mlflow_inside_its_parent(project, monkeypatch):
    Path("plot.csv").write_text("a,b\n")
    parent = runs.open_parent("flow")
    monkeypatch.setenv(runs.PARENT, parent)
    with Run("toy", "train", {"train": {"epochs": 3, "decay": [1, 2]}}) as run:
        for step in range(2500):
            run.log(step, {"loss": 1 / (step + 1), "f1/好 (a)": 0.5})
        run.tag("remote", "https://user:secret@example.org/x")
        run.artifact("plot.csv", to="plots")
        Path("plot.csv").unlink()
        assert run.wait()
    assert runs.close_parent(parent, "FINISHED", tags={"ran": "train"}, metrics={"stages": 1}) != ""
    by_name = found()
    mine = by_name["toy/train"]
    assert mine.info.run_id == run.id
    assert mine.info.status == by_name["flow"].info.status == "FINISHED"
    assert mine.data.params == {"train.epochs": "3", "train.decay": "[1, 2]"}
    assert mine.data.tags["mlflow.parentRunId"] == by_name["flow"].info.run_id
    assert (mine.data.tags["task"], mine.data.tags["stage"]) == ("toy", "train")
    assert mine.data.tags["remote"] == "https://example.org/x"
    assert by_name["flow"].data.tags["ran"] == "train"
    assert points(mine) == [(step, 1 / (step + 1)) for step in range(2500)]
    names = {item.path for item in store.client().list_artifacts(run.id)}
    assert names == {"plots"}
    assert journals() == []


def test_what_a_dead_tracker_missed_comes_with_the_next_run_and_never_twice(project, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead)
    with Run("toy", "train", {}) as run:
        for step in range(300):
            run.log(step, {"loss": step})
        assert run.wait() == ""
    assert len(journals()) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with Run("toy", "evaluate", {}):
        pass
    missed = found()["toy/train"]
    assert missed.info.status == "FINISHED"
    assert points(missed) == [(step, step) for step in range(300)]
    assert journals() == []


def test_a_lost_answer_makes_no_second_run_and_no_second_point(project):
    with Run("toy", "train", {"a": 1}) as run:
        run.log(1, {"loss": 0.5})
    shelf = Path(".danlu/journal/sent")
    for path in shelf.glob("*.jsonl"):  # as if MLflow had everything and the process died before it knew
        path.rename(path.parent.parent / path.name)
    with Run("toy", "evaluate", {}):
        pass
    assert sorted(found()) == ["toy/evaluate", "toy/train"]
    assert points(found()["toy/train"]) == [(1, 0.5)]


def test_a_run_that_does_not_deliver_is_left_to_the_next(project):
    with Run("toy", "fetch", {}, live=False) as run:
        run.log(0, {"rows": 3})
    assert journals()
    with Run("toy", "train", {}):
        pass
    assert sorted(found()) == ["toy/fetch", "toy/train"]


def test_a_failed_stage_is_marked_and_its_error_goes_on(project):
    with pytest.raises(ValueError, match="no good"), Run("toy", "train", {}):
        raise ValueError("no good")
    run = found()["toy/train"]
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ValueError: no good"


@pytest.mark.slow
def test_a_killed_run_is_delivered_and_a_living_one_left_alone(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code = (
        "import sys, time\nfrom pipeline.tracking.runs import Run\n"
        "run = Run('toy', sys.argv[1], {}).__enter__()\n"
        "for step in range(50): run.log(step, {'loss': step})\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = []
    for name in ("killed", "living"):
        command = [sys.executable, "-c", code, name]
        children.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    try:
        for child in children:
            assert child.stdout.readline() == b"ready\n"
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        torn = next(Path(".danlu/journal").glob("*killed*.jsonl"))
        with torn.open("ab") as file:
            file.write(b'{"time": 5, "step": 50, "val')
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        with Run("toy", "train", {}):
            pass
        assert sorted(found()) == ["toy/killed", "toy/train"]
        assert found()["toy/killed"].info.status == "KILLED"
        assert len(points(found()["toy/killed"])) == 50
        assert len(journals()) == 1
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()


@pytest.mark.slow
def test_a_tracker_that_never_answers_costs_the_training_nothing(project, monkeypatch):
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        held = []

        def swallow():
            while True:
                try:
                    held.append(silent.accept()[0])
                except OSError:
                    return

        threading.Thread(target=swallow, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        store.client()
        held.clear()
        slowest = 0.0
        with Run("toy", "train", {}) as run:
            for step in range(80):
                started = time.monotonic()
                run.log(step, {"loss": step})
                slowest = max(slowest, time.monotonic() - started)
                time.sleep(0.1)
            before = len(held)
        assert before <= 2  # one attempt and its one retry within the first pause
        assert slowest < 3  # a request to it takes 6 s: nobody waited for one
        silent.close()
        for connection in held:
            connection.close()
    assert len(journals()) == 1


def test_the_root_is_the_project_also_below_it_and_in_a_temporary_experiment(project, monkeypatch):
    inside = project / ".dvc" / "tmp" / "exps" / "standalone" / "abc"
    (inside / ".dvc").mkdir(parents=True)
    (project / "data").mkdir()
    for folder in (project, project / "data", inside):
        monkeypatch.chdir(folder)
        assert store.root() == project
    assert store.tracking_uri() == f"sqlite:///{project}/mlflow.db"


def test_tags_name_commit_data_and_dependencies(project, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    Path("data/prepared/toy").mkdir(parents=True)
    Path("data/raw/toy").mkdir(parents=True)
    Path("data/raw/toy/source.json").write_text('{"origin": "https://u:p@example.org", "version": "1.0", "rows": 3}')
    Path("train.py").write_text("x = 1\n")
    Path("params.yaml").write_text("tasks: {toy: {model: {name: resnet}}}\n")
    Path("resnet.py").write_text("")
    Path("dvc.yaml").write_text(
        "stages:\n  train:\n    foreach: ${tasks}\n    do:\n      deps:\n      - train.py\n"
        "      - ${item.model.name}.py\n      - data/prepared/${key}\n"
    )
    Path("dvc.lock").write_text("stages:\n  prepare@toy:\n    outs:\n    - {path: data/prepared/toy, md5: abc.dir}\n")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "train.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    monkeypatch.setenv("DVC_EXP_NAME", "brave-one")
    tags = provenance.tags("toy", "train")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert (tags["git.commit"], tags["git.dirty"]) == (commit, "false")
    assert tags["dvc.data/prepared/toy"] == "abc.dir"
    assert tags["dvc.resnet.py"] == "d41d8cd98f00b204e9800998ecf8427e"
    assert len(tags["dvc.train.py"]) == 32
    assert (tags["data.origin"], tags["data.version"]) == ("https://example.org", "1.0")
    assert tags["DVC_EXP_NAME"] == "brave-one"
    Path("train.py").write_text("x = 2\n")
    assert provenance.tags("toy", "train")["git.dirty"] == "true"
    assert provenance.invocation() == provenance.invocation()
    monkeypatch.setenv("DANLU_INVOCATION", "one")
    assert provenance.invocation() == "one"
