"""A dvc.lock that a kill cut off comes back whole, and DVC reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import lockfile
from flows.lockfile import KEPT, LOCK

LINES = """stages:
  {name}:
    cmd: "echo 丹炉 > {name}"
    outs: [{name}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What DVC itself records of two stages."""
    folder = tmp_path_factory.mktemp("lock")
    (folder / "dvc.yaml").write_text(LINES.format(name="one") + LINES.format(name="two").partition("\n")[2])
    for words in (["init", "-q", "--no-scm"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True)
    return (folder / LOCK).read_text("utf-8")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commit() -> None:
    person = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", str(LOCK)], [*person, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], check=True)


def test_cut_off_anywhere_it_comes_back(made: str) -> None:
    LOCK.write_text(made)
    lockfile.keep()
    assert set(lockfile.read()) == {"one", "two"}
    encoded = made.encode()
    for end in range(len(encoded)):
        LOCK.write_bytes(encoded[:end])
        lockfile.keep()  # never copies what is cut off
        lockfile.heal()
        assert LOCK.read_text("utf-8") == made, end


def test_without_a_copy_the_committed_one_comes_back(made: str) -> None:
    LOCK.write_text(made)
    commit()
    LOCK.write_text(made[:60])
    lockfile.heal()
    assert LOCK.read_text("utf-8") == made


def test_without_either_it_goes_and_the_run_cache_decides(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    LOCK.write_text(made[:60])
    lockfile.heal()
    assert not LOCK.exists()
    assert "dvc.lock: a killed run left it cut off" in capsys.readouterr().err


def test_what_is_whole_or_in_conflict_or_not_there_is_left(made: str) -> None:
    lockfile.heal()
    assert not LOCK.exists()
    KEPT.parent.mkdir(parents=True)
    KEPT.write_text(made)
    for text in (made.replace("echo", "printf"), "<<<<<<< HEAD\n" + made):
        LOCK.write_text(text)
        lockfile.heal()
        assert LOCK.read_text("utf-8") == text


def test_a_shorter_one_that_was_committed_is_whole(made: str) -> None:
    LOCK.write_text(made)
    lockfile.keep()
    one = made.partition("  two:")[0]
    LOCK.write_text(one)
    commit()
    lockfile.heal()
    assert LOCK.read_text("utf-8") == one
