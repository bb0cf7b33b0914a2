"""A killed run's leavings heal by themselves; a live holder is named and refused."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import locks
from flows.locks import BusyError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    locks.RWLOCK.parent.mkdir(parents=True)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "program"]) as process:
        yield process
        process.kill()


def lock_of(pid: int) -> str:
    return json.dumps({"write": {"data/x": {"pid": pid, "cmd": "repro train"}}, "read": {}})


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("text", ["", '{"write": {"data/x": {"pi', "[]", "{}"])
def test_a_torn_lock_file_is_made_whole(text: str) -> None:
    locks.RWLOCK.write_text(text)
    locks.heal()
    assert json.loads(locks.RWLOCK.read_text()) == {}


def test_a_dead_holder_is_removed() -> None:
    locks.RWLOCK.write_text(lock_of(dead_pid()))
    locks.heal()
    assert json.loads(locks.RWLOCK.read_text()) == {}


def test_a_pid_that_now_belongs_to_another_program_is_removed(sleeper: "subprocess.Popen[bytes]") -> None:
    locks.RWLOCK.write_text(lock_of(sleeper.pid))
    locks.heal()
    assert json.loads(locks.RWLOCK.read_text()) == {}


def test_a_pid_that_now_belongs_to_a_younger_dvc_is_removed(tmp_path: Path) -> None:
    locks.RWLOCK.write_text("{}")
    long_ago = time.time() - 3600
    with dvc(tmp_path) as process:
        locks.RWLOCK.write_text(lock_of(process.pid))
        os.utime(locks.RWLOCK, (long_ago, long_ago))
        locks.heal()
        process.kill()
    assert json.loads(locks.RWLOCK.read_text()) == {}


def dvc(folder: Path) -> "subprocess.Popen[bytes]":
    script = folder / "dvc"
    script.write_text("import time; time.sleep(60)")
    return subprocess.Popen([sys.executable, str(script), "repro"])


def test_a_live_dvc_is_named_and_refused(tmp_path: Path) -> None:
    with dvc(tmp_path) as process:
        locks.RWLOCK.write_text(lock_of(process.pid))
        with pytest.raises(BusyError, match=rf"held by `dvc repro train` \(process {process.pid}\)"):
            locks.heal()
        process.kill()


def test_no_lock_file_is_no_trouble() -> None:
    locks.heal()
    assert not locks.RWLOCK.exists()


def test_a_second_run_is_told_who_holds_the_checkout() -> None:
    with (
        locks.run("danlu run solar"),
        pytest.raises(BusyError, match=f"held by `danlu run solar` .process {os.getpid()}"),
        locks.run("danlu run"),
    ):
        pass


def test_the_next_run_may_start_once_the_first_has_ended() -> None:
    with locks.run("first") as first:
        pass
    with locks.run("second") as second:
        assert first != second


HOLDER = """
import os, subprocess, sys
from flows import locks
with locks.run("killed"):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], start_new_session=True)
"""


def test_a_killed_runs_processes_are_ended_before_the_next_begins() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    orphan = psutil.Process(int(holder.stdout.readline()))
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert orphan.is_running()
    with locks.run("next"):
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
