"""Runs the folds' processes side by side, as many as cores and memory allow; none outlives the one that started it."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline import artifacts, errors, memory, rank, workers
from pipeline.errors import PipelineError, StoppedError, TrainingError
from pipeline.fit.settings import Config
from pipeline.folding.refit import ERROR

log = logging.getLogger(__name__)
POLL = 0.2  # seconds
STOP = 20.0  # seconds that a stopped fold has for its checkpoint; see flows/stages.py
FIRST = 2 << 30  # bytes that a fold is taken to need before one has ended
LAST_LINES = 20  # of a log, shown where a process has died


@dataclass
class _Running:
    number: int
    stem: Path
    process: "subprocess.Popen[bytes]"
    began: float
    peak: int = 0
    now: int = 0  # bytes
    beside: bool = False  # whether others have run at the same time

    def look(self) -> None:
        with contextlib.suppress(psutil.Error):
            self.now = psutil.Process(self.process.pid).memory_info().rss
            self.peak = max(self.peak, self.now)


def at_once(asked: int | None, folds: int, train: Config) -> int:
    """How many folds may work at once, as far as cores and the device say."""
    if asked is not None:
        return min(asked, folds)
    if train.device != "cpu":
        import torch

        if torch.cuda.is_available():  # its memory is shared by whoever is on it
            return 1
    threads = workers.count() if train.threads == "auto" else train.threads
    return max(1, min(folds, workers.count() // threads))


def run(
    jobs: Sequence[tuple[int, Path]],
    limit: int,
    on_end: Callable[[int, float], None],
    stop: Callable[[], bool],
    module: str = "pipeline.folding.refit",
) -> None:
    """Returns when every fold, its number and the job's path without suffix, has left its answers.

    module: what each process runs.

    A fold that has run beside others and whose process the system has killed, as it does for want of memory, is started
    once more when nothing else runs; from then on one works at a time.
    Raises: what a fold raised, with its number; StoppedError; TrainingError for a process that died.
    """
    running: list[_Running] = []
    waiting, needed = list(jobs), 0
    try:
        while waiting or running:
            if stop():
                raise StoppedError("folds: stopped; finished folds are kept; run again to go on")
            while waiting and _may_start(running, limit, needed):
                running.append(_start(*waiting.pop(0), module))
            for one in running:
                one.beside |= len(running) > 1  # said here, since the system may kill all of them at once
            time.sleep(POLL)
            for one in [*running]:
                one.look()
                if one.process.poll() is None:
                    continue
                running.remove(one)
                needed = max(needed, one.peak)
                if one.process.returncode == -signal.SIGKILL and one.beside:
                    log.warning("fold %d was killed, as for want of memory; from now on one at a time", one.number + 1)
                    waiting.append((one.number, one.stem))
                    limit = 1
                    continue
                _require_done(one)
                on_end(one.number, time.monotonic() - one.began)
    finally:
        _end(running)


def _may_start(running: Sequence[_Running], limit: int, needed: int) -> bool:
    """Where one is at work, there must be room for another and for what those at work may still take."""
    if not running or len(running) >= limit:
        return not running
    most = max([needed or FIRST, *(one.peak for one in running)])
    return memory.free() > most + sum(max(0, most - one.now) for one in running)


def _start(number: int, stem: Path, module: str) -> _Running:
    own = {
        rank.STARTER: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # until the training sets train.threads
        "DANLU_WORKERS": "0",  # stages start no processes of their own
    }
    stem.with_suffix(ERROR).unlink(missing_ok=True)
    with stem.with_suffix(".log").open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(stem.with_suffix(".job"))],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=os.environ | own,
            start_new_session=True,  # a signal to this group is this process's to pass on
        )
    return _Running(number, stem, process, time.monotonic())


def _require_done(one: _Running) -> None:
    """Raises: what the fold did."""
    title, code = f"fold {one.number + 1}", one.process.returncode
    told = one.stem.with_suffix(ERROR)
    if told.is_file():
        said = artifacts.read_json(told)
        kind: type[PipelineError] = getattr(errors, said["kind"], PipelineError)
        raise kind(f"{title}: {said['message']}")
    if code == 0:
        return
    path = one.stem.with_suffix(".log")
    sys.stderr.write("\n".join(path.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]) + "\n")
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
    raise TrainingError(
        f"{title}: its process died by {how}; expected it to live; {path} has all it said; run again to go on, with "
        "crossvalidate.workers: 1 if it lacked memory"
    )


def _end(running: Sequence[_Running]) -> None:
    """Asks those that are left to stop, and leaves none of them."""
    for one in running:
        one.process.terminate()
    until = time.monotonic() + (STOP if running else 0)
    for one in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(max(0.0, until - time.monotonic()))
        one.process.kill()
        one.process.wait()
