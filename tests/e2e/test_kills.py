"""A run killed at random moments, started again, ends as an unbroken one; nothing is mended by hand."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1700)]
KILLS = 5
SEED = 20261123


def result(project: Project) -> dict[str, Any]:
    """What has to be equal: data and features by DVC's hash, weights by content, quality metrics."""
    found: dict[str, Any] = project.hashes("raw", "validated", "prepared", "features", "baseline", "tuned")
    for task in ("cells", "opinions"):
        weights = project.folder / "data/models" / task / "weights.safetensors"
        found[f"weights {task}"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        found[f"metrics {task}"] = project.json("data", "metrics", f"{task}.json")
    return found


def of_project(project: Project) -> list[psutil.Process]:
    """Live processes that work in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(project.folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_after(project: Project, seconds: float) -> bool:
    """Starts a run and kills its group after so long; False when it ended before."""
    process = project.start("flows.train", start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def test_killed_at_random_moments_it_ends_as_an_unbroken_run(finished: Project, fresh: Callable[[], Project]) -> None:
    expected = result(finished)
    seconds = sum(json.loads(path.read_text()) for path in finished.folder.glob(".danlu/seconds/*/*.json"))
    moments = random.Random(SEED)
    project = fresh()
    killed = 0
    for _ in range(KILLS):
        killed += kill_after(project, moments.uniform(8, max(20, 0.6 * seconds)))
        until = time.monotonic() + 30
        while (left := of_project(project)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left, f"still at work 30 s after the kill: {[p.cmdline() for p in left]}"
    assert killed, "no run lasted until its kill"
    project.danlu("run")
    assert result(project) == expected


def test_dvc_repro_alone_gives_the_same_result(finished: Project, fresh: Callable[[], Project]) -> None:
    """From nothing, without Prefect and without an activated environment."""
    project = fresh()
    environment = project.environment | {"PATH": "/usr/bin:/bin", "DANLU_PYTHON": sys.executable}
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(project) == result(finished)
    assert project.danlu("predict", "opinions", "质量很好").stdout.strip()


TORN = {"empty": "", "half": '{"write": {"data/x": {"pi'}


@pytest.mark.parametrize("fault", ["empty", "half", "dead", "reused"])
def test_a_faulty_lock_file_heals(finished: Project, fault: str) -> None:
    lock = finished.folder / ".dvc/tmp/rwlock"
    with subprocess.Popen(["sleep", "100"]) as other:
        pid = other.pid
        if fault == "dead":
            other.kill()
            other.wait()
        entry = json.dumps({"write": {"data/raw/cells": {"pid": pid, "cmd": "repro"}}, "read": {}})
        lock.write_text(TORN.get(fault, entry))
        try:
            done = finished.danlu("run", "--until", "fetch")
        finally:
            other.kill()
    assert "2 stages" in done.stdout


@pytest.mark.parametrize("length", [0, 100, 8192])
def test_a_dvc_lock_that_a_kill_cut_off_comes_back(finished: Project, length: int) -> None:
    """DVC rewrites it in place, in pieces of 8,192 bytes."""
    lock = finished.folder / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:length])
    done = finished.danlu("run")
    assert "FAILED" not in done.stdout
    assert lock.read_bytes() == whole


def test_two_starts_at_once_never_mix(finished: Project) -> None:
    """Four at once: each does its work or names who holds the checkout."""
    for path in (finished.folder / "data/raw/cells").rglob("*.parquet"):
        path.unlink()
    starts = [finished.start("flows.train", "--until", "fetch", stdout=-1, stderr=-1) for _ in range(4)]
    ended = [(process, *process.communicate(timeout=600)) for process in starts]
    assert {process.returncode for process, _, _ in ended} <= {0, 2}
    assert any(process.returncode == 0 for process, _, _ in ended)
    for process, _, errors in ended:
        assert process.returncode == 0 or "one run at a time in a checkout" in errors
    assert finished.danlu("run").returncode == 0


PREPARATION_KILLS = 20


def contents(project: Project) -> dict[str, str]:
    """The hash of every file that prepare and featurize write."""
    folders = [project.folder / "data" / stage for stage in ("prepared", "features")]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(project.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_preparation_killed_at_random_moments_writes_the_same_bytes(fresh: Callable[[], Project]) -> None:
    """By processes as a large data set has them; the cache helps a killed run on, and may be half written."""
    project, moments = fresh(), random.Random(SEED)
    project.danlu("run", "--until", "split")
    environment = project.environment | {"DANLU_RUN": "test", "DANLU_WORKERS": "2"}
    both = "; ".join(
        f"{sys.executable} -m pipeline.{stage} {task} || exit 1"
        for task in ("cells", "opinions")
        for stage in ("prepare", "featurize")
    )

    def start() -> "subprocess.Popen[bytes]":
        options: dict[str, Any] = {"cwd": project.folder, "env": environment, "start_new_session": True}
        return subprocess.Popen(["sh", "-c", both], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)

    started = time.monotonic()
    assert start().wait(300) == 0
    seconds, expected = time.monotonic() - started, contents(project)
    shutil.rmtree(project.folder / ".danlu/cache")
    for _ in range(PREPARATION_KILLS):
        process = start()
        time.sleep(moments.uniform(0.1, 0.95 * seconds))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    assert start().wait(300) == 0
    assert contents(project) == expected
