"""Starts the processes that train one network together, watches them from outside, and starts them again.

They meet in files of one folder and talk over the loopback interface: no port can be taken, and none is open to others.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline import artifacts, errors, pulse, rank
from pipeline.errors import ExhaustedError, PipelineError, StoppedError, TrainingError
from pipeline.fit.settings import Parallel

log = logging.getLogger(__name__)
POLL = 0.1  # seconds
START = 180.0  # seconds that a rank has at least for its imports, its data and its first step
LINGER = 3.0  # seconds that the ranks which are left have after the first has died
STOP = 20.0  # seconds that a stopped run has for the step at work and its checkpoint; see flows/stages.py
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(frozen=True)
class Job:
    """`python -m MODULE WORD… PARTS` in so many processes; PARTS is the least number of parts of each of a batch's."""

    module: str
    words: Sequence[str]
    parallel: Parallel
    folder: Path  # of its own, for as long as the job runs
    parts: int = 1  # of each of train.accumulate, at first
    on_row: Callable[[int, Mapping[str, float]], None] = lambda step, values: None  # of rank 0, each step once
    stop: Callable[[], bool] = lambda: False


def run(job: Job) -> None:
    """Returns when all ranks have ended well.

    Raises: what a rank raised; StoppedError; TrainingError for a rank that dies again and again or that hangs.
    """
    parts, deaths, last = job.parts, 0, 0
    saved = 0  # the step of the checkpoint at the last death
    with _removed(job.folder):
        while True:
            attempt = _Attempt(job, parts, last)
            try:
                attempt.watch()
                return
            except ExhaustedError as error:
                parts *= 2
                log.warning("%s; all ranks start again from the last checkpoint, with %d times the parts", error, parts)
            except _DeathError as error:
                if attempt.saved > saved:
                    deaths, saved = 0, attempt.saved
                deaths += 1
                if job.stop():
                    raise StoppedError(f"train: stopped as {error}; run again to go on") from None
                if deaths > job.parallel.restarts:
                    memory = ", with fewer train.parallel.processes or more train.accumulate if it lacked memory"
                    raise TrainingError(
                        f"train: {error}; expected it to live; gave up after {_times(job.parallel.restarts)}"
                        " without a checkpoint in between; "
                        f"run again to go on from the last checkpoint{memory if 'signal 9' in str(error) else ''}"
                    ) from None
                so_far = f"{deaths} of {job.parallel.restarts}"
                log.warning("train: %s; all ranks start again from the last checkpoint (%s)", error, so_far)
            finally:
                attempt.end()
                last = attempt.last


class _DeathError(Exception):
    """A rank has died, and to start again may help."""


def _times(restarts: int) -> str:
    return f"{restarts} restart{'s' * (restarts != 1)}"


@contextmanager
def _removed(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Watched:
    """What is known of a rank."""

    seen: pulse.Seen | None = None
    moved: float = field(default_factory=time.monotonic)  # when it last did some work
    lived: float = field(default_factory=time.monotonic)  # when its thread last counted
    process: psutil.Process | None = None

    def look(self, path: Path) -> None:
        found, now = pulse.read(path), time.monotonic()
        if found is None:
            return
        if self.seen is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.process = psutil.Process(found.pid)
        if self.seen is None or self.seen.beats != found.beats:
            self.moved = now
        if self.seen is None or self.seen.alive != found.alive:
            self.lived = now
        self.seen = found

    @property
    def place(self) -> str:
        return self.seen.place if self.seen else "before its start"

    @property
    def gone(self) -> bool:
        """A zombie waits for torchrun to look."""
        if self.process is None:
            return False
        try:
            return not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


class _Attempt:
    """All ranks, from their start to the end of the first that does not end well."""

    def __init__(self, job: Job, parts: int, last: int):
        """last: the step of the last row that is told already."""
        self.job, self.last = job, last
        self._read = 0  # bytes of the rows
        self._stopped = self._died = 0.0  # when
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True)
        self.ranks = [_Watched() for _ in range(job.parallel.processes)]
        self.launcher = subprocess.Popen(
            [sys.executable, "-m", "pipeline.rank", job.module, *job.words, str(parts)],
            stdin=subprocess.DEVNULL,
            env=os.environ | _environment(job),
            start_new_session=True,  # a signal to this group is this process's to pass on
        )

    @property
    def saved(self) -> int:
        """The step of the last checkpoint that was written."""
        return max(one.seen.saved if one.seen else 0 for one in self.ranks)

    def watch(self) -> None:
        """Until all ranks have ended. Raises: ExhaustedError, _DeathError, and what `run` says."""
        while self.launcher.poll() is None:
            time.sleep(POLL)
            self._look()
            now = time.monotonic()
            if self.job.stop() and not self._stopped:
                self._stopped = now
                (self.job.folder / rank.STOP).touch()
            if self._stopped and now > self._stopped + STOP:
                raise StoppedError(f"train: stopped before the step at work had ended ({STOP:g} s); run again to go on")
            if not self._died and any(one.gone and self._note(k) != "done" for k, one in enumerate(self.ranks)):
                self._died = now
            if self._died and now > self._died + LINGER:
                self._kill()
            elif not self._died:
                self._require_work(now)
        self._look()
        self._judge()

    def _look(self) -> None:
        for k, one in enumerate(self.ranks):
            one.look(self.job.folder / f"{k}.pulse")
        with contextlib.suppress(FileNotFoundError), (self.job.folder / rank.ROWS).open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                step, values = json.loads(line)
                if step > self.last:
                    self.last = step
                    self.job.on_row(step, values)

    def _note(self, number: int) -> Any:
        """How a rank says that it ended, or its kind alone."""
        with contextlib.suppress(FileNotFoundError):
            return artifacts.read_json(self.job.folder / f"{number}.end.json")["kind"]
        return None

    def _require_work(self, now: float) -> None:
        """Raises: TrainingError for ranks that have done nothing for too long."""
        patience = self.job.parallel.patience
        begun = all(one.seen and one.seen.epoch for one in self.ranks)
        still = [k for k, one in enumerate(self.ranks) if self._note(k) != "done"]
        longest = max((now - self.ranks[k].moved for k in still), default=0.0)
        if longest <= (patience if begun else max(patience, START)):
            return
        stopped = [k for k in still if now - self.ranks[k].lived > min(10 * pulse.PERIOD, patience / 2)]
        idle = [k for k in still if not ((seen := self.ranks[k].seen) and seen.waits)]
        blamed = stopped or idle or still
        why = "its process stands still" if stopped else "it hangs" if idle else "all wait for one another"
        names = ", ".join(f"rank {k}" for k in blamed)
        raise TrainingError(
            f"train: {names} has made no step for {longest:.0f} s ({why}), {self.ranks[blamed[0]].place}; expected one "
            f"within train.parallel.patience ({patience:g} s); run again to go on from the last checkpoint"
        )

    def _judge(self) -> None:
        """How the ranks ended. Raises: what the one that failed first did, where not all did well."""
        notes = [path for k in range(len(self.ranks)) if (path := self.job.folder / f"{k}.end.json").is_file()]
        ends = {int(path.name.partition(".")[0]): artifacts.read_json(path) for path in notes}
        failed = {k: end for k, end in ends.items() if end["kind"] != "done"}
        if len(ends) == len(self.ranks) and not failed:
            return
        known = {k: end for k, end in failed.items() if end["kind"]}
        if known:
            number = min(known, key=lambda k: (not known[k]["certain"], known[k]["time"]))
            raise _raised(known[number])
        killed = [(k, code) for k, code in self._codes() if k not in ends]
        if killed:
            number, code = killed[0]
            cause = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
            raise _DeathError(f"rank {number} died by {cause} {self.ranks[number].place}")
        if failed:
            number = min(failed, key=lambda k: float(failed[k]["time"]))
            said = str(failed[number]["message"]).partition("\n")[0]
            error = f"rank {number} failed {self.ranks[number].place}: {said}"
            if (seen := self.ranks[number].seen) and seen.step:
                raise _DeathError(error)
            sys.stderr.write(failed[number]["trace"])
            raise TrainingError(f"train: {error}; expected no error; the lines above say where it comes from")
        raise _DeathError(f"torchrun ended with {self.launcher.returncode} before its ranks")

    def _codes(self) -> list[tuple[int, int]]:
        """Exit codes by rank, in the order in which they ended."""
        path = self.job.folder / rank.CODES
        return [(int(k), int(code)) for k, code in artifacts.read_json(path)] if path.is_file() else []

    def _kill(self) -> None:
        for one in self.ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                if one.process:
                    one.process.kill()

    def end(self) -> None:
        """Leaves none of its processes."""
        self.launcher.kill()
        self.launcher.wait()
        self._kill()
        psutil.wait_procs([one.process for one in self.ranks if one.process], timeout=STOP)


def _environment(job: Job) -> dict[str, str]:
    return {
        rank.FOLDER: str(job.folder.absolute()),
        rank.STARTER: str(os.getpid()),
        rank.PROCESSES: str(job.parallel.processes),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # until each rank sets train.threads
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": LOOPBACK,
    }


def _raised(end: Mapping[str, Any]) -> PipelineError:
    """A rank's error as one of this process."""
    kind: type[PipelineError] = getattr(errors, end["kind"], PipelineError)
    return kind(end["message"])
