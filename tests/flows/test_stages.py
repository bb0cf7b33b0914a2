"""One stage as a process group: how it ends, what it said, and that stopping it leaves nothing behind."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.stages import Outcome, Running
from pipeline.errors import ChangingError, DataError

GRAPH = """
stages:
  good: {cmd: "echo hello; echo one > one", outs: [one]}
  bad: {cmd: "echo reason; exit 3"}
  crash: {cmd: "kill -9 $$"}
  slow: {cmd: "sleep 61"}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    (folder / "dvc.yaml").write_text(GRAPH)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=folder, check=True)
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


def run(name: str) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    return Running(name).wait(said.append), said


def test_a_stage_runs_and_then_is_unchanged() -> None:
    outcome, said = run("good")
    assert (outcome.state, outcome.code, outcome.ok) == ("ran", 0, True)
    assert said == ["hello"]  # none of DVC's own words
    assert run("good")[0].state == "unchanged"


def test_a_stages_own_exit_code_and_last_words_are_kept() -> None:
    outcome, _ = run("bad")
    assert (outcome.state, outcome.code, outcome.said) == ("failed", 3, ("reason",))
    assert not outcome.worth_retrying
    assert "reason" in Path(".danlu/logs/bad.log").read_text()


def test_a_crash_is_worth_another_attempt() -> None:
    outcome, _ = run("crash")
    assert outcome.state == "failed" and outcome.worth_retrying


def test_data_that_changed_while_they_were_read_are_worth_another_attempt() -> None:
    assert Outcome("fetch@pets", "failed", code=ChangingError.exit_code).worth_retrying
    assert not Outcome("fetch@pets", "failed", code=DataError.exit_code).worth_retrying


def test_stopping_ends_the_stage_at_once() -> None:
    running = Running("slow")
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(running.wait(lambda line: None)))
    thread.start()
    until = time.monotonic() + 60
    while not asleep() and time.monotonic() < until:
        time.sleep(0.1)
    running.stop()
    thread.join(15)
    assert [o.state for o in outcomes] == ["stopped"]
    assert not asleep()


def asleep() -> bool:
    return subprocess.run(["pgrep", "-fx", "sleep 61"], stdout=subprocess.DEVNULL).returncode == 0
