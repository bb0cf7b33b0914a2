"""The stages crossvalidate and suspects on a small task: real processes, one a fold."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from pipeline import artifacts, config, crossvalidate, folds, metrics, quality, suspects
from pipeline.config import Task
from pipeline.errors import DataError, TrainingError
from pipeline.folding import answering, figures, running
from pipeline.folding.answering import Fold
from pipeline.targets import Target
from tests.folding import project

METRIC = Path("data/metrics/toy.folds.json")
FOLDED = project.TEXT | {"crossvalidate": {"folds": 3}, "suspects": {"rows": 20}}
WRONG = range(0, 120, 12)  # every tenth label of a class


def flipped(count: int = 120) -> list[dict[str, Any]]:
    rows = project.texts(count)
    project.flip(rows, WRONG)
    rows[1]["text"] = "=1+1" + rows[1]["text"]
    return rows


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after both stages."""
    root = tmp_path_factory.mktemp("folded")
    with pytest.MonkeyPatch.context() as patch:
        project.inside(root, patch)
        task = project.task(FOLDED)
        project.write(flipped(), [("t:7", "t:9")])
        project.tuned(task)
        crossvalidate.main(task)
        suspects.main(task)
    return root


@pytest.fixture
def task(folded: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    project.inside(folded, monkeypatch)
    return project.task(FOLDED)


def test_the_metric_has_mean_interval_and_folds_of_every_candidate(task: Task) -> None:
    found = artifacts.read_json(METRIC)
    assert (found["folds"], found["kind"], found["headline"]) == (3, "stratified", "macro_f1")
    assert sum(found["examples"]["test"]) == 120 and found["leaks"] == [0, 0, 0]
    assert set(found["candidates"]) == {"baseline", "net", "chosen"} and len(found["chosen"]) == 3
    for measured in found["candidates"].values():
        assert not [name for name in measured if "/" in name]  # of each class
        for name in ("accuracy", "macro_f1", "log_loss", "macro_recall"):
            figure = measured[name]
            assert figure["value"] == pytest.approx(np.mean(figure["folds"]), abs=1e-6)
            assert figure["low"] <= figure["value"] <= figure["high"] and len(figure["folds"]) == 3
            assert figure["pooled"]["low"] <= figure["pooled"]["value"] <= figure["pooled"]["high"]
    for number, name in enumerate(found["chosen"]):
        assert (
            found["candidates"]["chosen"]["accuracy"]["folds"][number]
            == found["candidates"][name]["accuracy"]["folds"][number]
        )


def test_every_row_is_answered_for_by_models_that_have_not_seen_it(task: Task) -> None:
    table = pd.read_parquet("data/suspects/toy/answers.parquet")
    assert sorted(table["id"]) == sorted(f"t:{k}" for k in range(120))
    rows = folds.read(task)
    parts = folds.drawn(rows, folds.Config(3), "rows")
    assert [parts[int(name[2:])] for name in table["id"]] == (table["fold"] - 1).tolist()
    assert table.groupby("id")["fold"].first()[["t:7", "t:9"]].nunique() == 1
    accuracy = (table["baseline"] == table["label"]).mean()
    assert accuracy == pytest.approx(
        artifacts.read_json(METRIC)["candidates"]["baseline"]["accuracy"]["pooled"]["value"], abs=1e-6
    )
    assert np.allclose(np.array(table["net_probabilities"].tolist()).sum(axis=1), 1)


def test_planted_wrong_labels_come_first(task: Task) -> None:
    with open("data/suspects/toy/suspects.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 121))
    first = {row["id"] for row in rows[:12]}
    assert len(first & {f"t:{k}" for k in WRONG}) >= 8
    assert {row["verdict"] for row in rows} == {""}
    texts = {row["id"]: row["text"] for row in rows}
    assert (
        texts["t:1"].startswith("'=1+1") and Path("data/suspects/toy/suspects.csv").read_bytes()[:3] == b"\xef\xbb\xbf"
    )
    page = Path("data/suspects/toy/index.html").read_text("utf-8")
    assert all(row["id"] in page for row in rows[:20]) and f"{rows[30]['id']}<" not in page
    assert re.search(r"About \d+ of 120 labels are probably wrong", page)
    assert not re.search(r"(?:src|href)=\"https?://|url\(https?:|@import", page)


def test_no_more_suspects_are_told_of_than_there_are_rows(task: Task, tmp_path: Path) -> None:
    told = suspects.run(task, folds.Config(3), suspects.Config(1000), tmp_path)
    assert told.endswith("; data/suspects/toy/index.html shows the first 120")


def test_the_folds_leave_their_answers_alone(task: Task) -> None:
    (place,) = Path(".danlu/folds").iterdir()
    assert {path.suffix for path in place.iterdir()} == {".json", ".npz", ".parquet", ".log"}
    assert not Path("data/prepared").exists() and not Path("data/models").exists()


def test_settings_that_a_search_has_chosen_make_the_means_optimistic(task: Task) -> None:
    assert artifacts.read_json(METRIC)["optimistic"] is False
    study = Path("data/tuned/toy/study.json")
    study.write_text("{}")
    assert crossvalidate.crossvalidate(task, folds.Config(3))["optimistic"] is True
    study.unlink()


def test_a_second_look_fits_nothing(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    before = METRIC.read_bytes()
    monkeypatch.setattr(running, "_start", lambda *given: pytest.fail("a fold was fitted again"))
    crossvalidate.main(task)
    assert METRIC.read_bytes() == before


def test_what_decides_the_answers_is_in_the_fingerprint(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    values = artifacts.read_json(Path("data/tuned/toy/values.json"))
    first = answering.fingerprint(task, folds.Config(3), values)
    assert first == answering.fingerprint(project.task(FOLDED, compress={"rounds": 200}), folds.Config(3), values)
    others = [
        answering.fingerprint(project.task(FOLDED, features={"words": 1}), folds.Config(3), values),
        answering.fingerprint(task, folds.Config(3, seed=1), values),
        answering.fingerprint(task, folds.Config(3), values | {"train": values["train"] | {"seed": 1}}),
    ]
    path = Path("data/validated/toy/accepted/00000.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    others.append(answering.fingerprint(task, folds.Config(3), values))
    path.write_bytes(whole)
    assert len({first, *others}) == 5
    there = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "scikit-image" else there(name))
    assert len({answering.fingerprint(task, folds.Config(3), values), *others, first}) == 6


def test_without_folds_nothing_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.inside(tmp_path, monkeypatch)
    task = project.task(project.TEXT)
    crossvalidate.main(task)
    suspects.main(task)
    assert artifacts.read_json(METRIC) == {"folds": 0}
    assert artifacts.read_json(Path("data/suspects/toy/summary.json")) == {"rows": 0}


def test_a_folds_error_is_told_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a file that validation accepted is gone."""
    project.inside(tmp_path, monkeypatch)
    task = project.task(project.IMAGE, crossvalidate={"folds": 2, "workers": 1})
    project.write(project.images(24))
    project.tuned(task)
    Path("data/raw/toy/files/3.png").unlink()
    with pytest.raises(DataError, match=r"fold 1: .*3\.png: validated, but now"):
        crossvalidate.main(task)
    assert not METRIC.exists()


def test_a_process_that_dies_is_an_error_that_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=r"fold 1: its process died by exit code 1; .*0\.log has all it said"):
        running.run([(0, tmp_path / "0")], 1, lambda *given: None, lambda: False)


class Short:
    """Starts a shell in the place of each fold's process; commands: of each fold's tries, the last one again."""

    def __init__(self, *commands: tuple[str, ...]) -> None:
        self.commands, self.started = commands, list[int]()

    def __call__(self, number: int, stem: Path, module: str) -> running._Running:
        stem.with_suffix(".log").touch()
        command = self.commands[number][min(self.started.count(number), len(self.commands[number]) - 1)]
        self.started.append(number)
        return running._Running(number, stem, subprocess.Popen(["sh", "-c", command]), time.monotonic())


KILLED = "kill -9 $$"


@pytest.mark.parametrize("second", [KILLED, f"sleep 0.5; {KILLED}"], ids=["in one poll", "one after the other"])
def test_folds_that_are_killed_together_are_each_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    short, ended = Short((KILLED, "true"), (second, "true"), ("true",)), list[int]()
    monkeypatch.setattr(running, "_start", short)
    monkeypatch.setattr("pipeline.memory.free", lambda: 1 << 60)
    jobs = [(k, tmp_path / str(k)) for k in range(3)]
    running.run(jobs, 2, lambda number, seconds: ended.append(number), lambda: False)
    assert short.started == [0, 1, 2, 0, 1] and ended == [2, 0, 1]


def test_a_fold_that_is_killed_alone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the start, or when it was started once more."""
    monkeypatch.setattr("pipeline.memory.free", lambda: 1 << 60)
    for commands, limit, tries in (((KILLED,), ("true",)), 1, [0]), (((KILLED,), ("sleep 0.5",)), 2, [0, 1, 0]):
        short = Short(*commands)
        monkeypatch.setattr(running, "_start", short)
        with pytest.raises(TrainingError, match=r"fold 1: its process died by signal 9 \(SIGKILL\)"):
            running.run([(k, tmp_path / str(k)) for k in (0, 1)], limit, lambda *given: None, lambda: False)
        assert short.started == tries


@pytest.mark.parametrize(
    ("asked", "threads", "cores", "expected"),
    [(None, 1, 8, 5), (None, 4, 8, 2), (None, 1, 2, 2), (None, "auto", 8, 1), (3, 1, 2, 3), (9, 1, 2, 5)],
)
def test_as_many_at_once_as_cores_and_settings_say(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, threads: Any, cores: int, expected: int
) -> None:
    from pipeline.fit.settings import Config

    monkeypatch.setattr("pipeline.workers.count", lambda: cores)
    assert running.at_once(asked, 5, Config(threads=threads, device="cpu")) == expected


def test_another_fold_waits_until_memory_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = running._Running(0, Path(), None, 0.0, peak=100, now=60)  # type: ignore[arg-type]
    for free, starts in ((1000, True), (141, True), (139, False)):
        monkeypatch.setattr("pipeline.memory.free", lambda free=free: free)
        assert running._may_start([one], 4, needed=100) == starts  # 100 for it, and 40 that the first may still take
    assert running._may_start([], 4, needed=100)  # one always does
    assert not running._may_start([one] * 4, 4, needed=1)


def test_each_fold_chooses_on_its_own_validation() -> None:
    target, truth = Target("classes", ("a", "b")), np.arange(20) % 2
    right, wrong = np.eye(2)[truth], np.eye(2)[1 - truth]
    better = {"validation": right, "test": wrong}
    worse = {"validation": wrong, "test": right}
    counts = {"train": 80, "validation": 20, "test": 20}
    pairs = [{"baseline": better, "net": worse}, {"baseline": worse, "net": better}]
    truths = {"validation": truth, "test": truth}
    made = [Fold(truths, pair, pd.DataFrame(), counts, 0) for pair in pairs]
    found = figures.measured(made, quality.Config("accuracy", resamples=100), target)
    assert found["chosen"] == ["baseline", "net"]
    accuracy = {name: measured["accuracy"]["folds"] for name, measured in found["candidates"].items()}
    assert accuracy == {"baseline": [0, 1], "net": [1, 0], "chosen": [0, 0]}


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_fold_too_small_for_the_headline_is_named(side: str) -> None:
    """r2 of a single value is not defined; the mean error is."""
    target, truth = Target("value", ("degrees",)), np.arange(4.0)[:, None]
    counts = {"train": 8, "validation": 4, "test": 4}
    whole = {"validation": truth, "test": truth}
    small = whole | {side: truth[:1]}
    made = [Fold(one, {"baseline": one, "net": one}, pd.DataFrame(), counts, 0) for one in (whole, small)]
    with pytest.raises(DataError, match=f"{side} of fold 2 of 2: found 1 examples, on which r2 of baseline is not"):
        figures.measured(made, quality.Config("r2", resamples=100), target)
    assert figures.measured(made, quality.Config("mae", resamples=100), target)["candidates"]["chosen"]["mae"]


def test_candidates_are_compared_fold_by_fold() -> None:
    """Where the folds differ far more than the candidates do, the difference is still sure."""
    target, truth = Target("classes", ("a", "b", "c")), np.arange(300) % 3
    counts = {"train": 600, "validation": 300, "test": 300}

    def answers(wrong: int) -> dict[str, np.ndarray]:
        told = np.where(np.arange(300) < wrong, (truth + 1) % 3, truth)
        return {side: np.eye(3)[told] for side in ("validation", "test")}

    truths = {"validation": truth, "test": truth}
    made = [
        Fold(truths, {"baseline": answers(wrong + 30), "net": answers(wrong + k)}, pd.DataFrame(), counts, 0)
        for k, wrong in enumerate((0, 60, 120))
    ]
    wanted = quality.Config("accuracy", {"broken": ("a", "b")}, resamples=100)
    found = figures.measured(made, wanted, target)
    assert list(found["difference"]) == ["accuracy", "broken_accuracy"]
    expected = figures.interval([0.1, 29 / 300, 28 / 300], 0.5, (-1, 1))
    assert found["difference"]["accuracy"] == {key: round(value, 6) for key, value in asdict(expected).items()}
    net, baseline = (found["candidates"][name]["accuracy"] for name in ("net", "baseline"))
    assert expected.low > 0 and net["low"] < baseline["high"]


def test_the_interval_counts_that_train_parts_overlap() -> None:
    """Nadeau and Bengio's correction: for k folds of n rows, 1/k + 1/(k - 1)."""
    from scipy.stats import t

    values = [0.8, 0.82, 0.79, 0.85, 0.81]
    found = figures.interval(values, 0.25, (0.0, 1.0))
    away = t.ppf(0.975, 4) * np.std(values, ddof=1) * np.sqrt(1 / 5 + 0.25)
    assert (found.low, found.high) == pytest.approx((np.mean(values) - away, np.mean(values) + away))
    assert figures.interval([0.9, 1.0], 1.0, metrics.bounds("accuracy")).high == 1.0
    assert figures.interval([0.0, 0.9], 1.0, metrics.bounds("r2")).low < 0
    assert metrics.bounds("log_loss") == (0, float("inf")) and metrics.bounds("pearson") == (-1, 1)


def started(root: Path, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipeline.crossvalidate", "toy"]
    return subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True, **options)


def left(root: Path) -> list[int]:
    """Processes of folds of this project."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "pipeline.folding.refit" in words:
            found += [process.pid] if str(root) in process.cwd() else []
    return found


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose folds take some seconds each, two at once."""
    project.inside(tmp_path, monkeypatch)
    sections = FOLDED | {"crossvalidate": {"folds": 3, "workers": 2}, "train": {"epochs": 150, "batch_size": 16}}
    task = project.task(sections | {"train": sections["train"] | {"patience": 150}})
    artifacts.write_json(config.PARAMS, {"tasks": {"toy": dict(task.raw)}})  # YAML too
    project.write(flipped())
    project.tuned(task)
    return tmp_path


def until(path: str, root: Path, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 120
    while not list(root.glob(path)):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_alike(long: Path) -> None:
    """Killed while the first checkpoint is there, again after the first fold, by SIGKILL of the process group."""
    for sign in (".danlu/folds/toy-*/0/.danlu/checkpoints/*/*", ".danlu/folds/toy-*/[0-2].json"):
        with started(long) as process:
            until(sign, long, process)
            os.killpg(process.pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while left(long):
            assert time.monotonic() < end, "a fold outlives its starter"
            time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in long.glob(".danlu/folds/toy-*/[0-2].json")}
    assert done
    with started(long) as process:
        _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in done} == done
    resumed = METRIC.read_bytes()
    (place,) = long.glob(".danlu/folds/*")
    assert {path.suffix for path in place.iterdir()} == {".json", ".npz", ".parquet", ".log"}
    shutil.rmtree(place)
    with started(long) as process:
        _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert METRIC.read_bytes() == resumed and json.loads(resumed)["folds"] == 3


@pytest.mark.slow
def test_sigterm_stops_within_the_grace_and_leaves_checkpoints(long: Path) -> None:
    with started(long) as process:
        until(".danlu/folds/toy-*/0/.danlu/checkpoints/*/*", long, process)
        asked = time.monotonic()
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - asked < 22, said
    assert "finished folds are kept; run again to go on" in said and not left(long)
    assert list(long.glob(".danlu/folds/toy-*/0/.danlu/checkpoints/*/*"))
