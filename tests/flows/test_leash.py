"""A command on a leash ends with whoever holds the other end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GRANDCHILD = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + GRANDCHILD


def leash(*command: str, grace: float = 5.0) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "flows.leash", str(grace), *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)


def with_grandchild(code: str, tmp_path: Path, grace: float = 5.0) -> tuple["subprocess.Popen[bytes]", int]:
    """A leash over a shell over Python, and the pid of the last."""
    note = tmp_path / "pid"
    process = leash("sh", "-c", f'{sys.executable} -c "$0" {note}; true', code, grace=grace)
    until = time.monotonic() + 20
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return process, int(note.read_text())


def gone(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("code", [0, 3])
def test_it_passes_the_exit_code_on(code: int) -> None:
    with leash(sys.executable, "-c", f"raise SystemExit({code})") as process:
        assert process.wait(20) == code


def test_the_whole_group_ends_when_the_pipe_closes(tmp_path: Path) -> None:
    process, pid = with_grandchild(GRANDCHILD, tmp_path)
    with process:
        assert process.stdin
        process.stdin.close()
        assert gone(pid, 5)
        process.wait(5)


def test_what_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    process, pid = with_grandchild(STUBBORN, tmp_path, grace=0.5)
    with process:
        process.send_signal(signal.SIGTERM)
        assert gone(pid, 5)
        process.wait(5)


def test_what_a_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f'{sys.executable} -c "$0" {note} & while [ ! -s {note} ]; do sleep 0.05; done'
    with leash("sh", "-c", script, GRANDCHILD) as process:
        assert process.wait(20) == 0
        assert gone(int(note.read_text()), 5)


def test_a_killed_starters_command_ends(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    starter = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-m", "flows.leash", "5", sys.executable, "-c", {GRANDCHILD!r}, {str(note)!r}],
                 stdin=subprocess.PIPE, start_new_session=True).wait()
"""
    with subprocess.Popen([sys.executable, "-c", starter]) as process:
        while not (note.exists() and note.read_text()):
            time.sleep(0.02)
        process.kill()
    assert gone(int(note.read_text()), 5)
