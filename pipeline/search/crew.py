"""Starts a search's workers, starts those again that die, and ends them all when it is stopped or its time is over."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline import artifacts, errors
from pipeline.errors import PipelineError, StoppedError, TrainingError
from pipeline.search import worker
from pipeline.search.journal import LIVES, Study
from pipeline.tracking.runs import PARENT

log = logging.getLogger(__name__)
POLL = 0.2  # seconds
NOTED = 5.0  # seconds of a search's time that a kill may make forgotten
STOP = 20.0  # seconds that a stopped worker has for the step at work and its checkpoint; see flows/stages.py
DEATHS = 3 * LIVES  # of workers in a row, without an epoch of any trial in between, after which the search gives up
SPENT = "seconds"
"""In the study's folder: what its runs have taken so far."""


@dataclass
class Crew:
    """So many processes of worker.py on a study."""

    task: str
    study: Study
    workers: int
    minutes: float | None
    parent: str  # the key of the run that its trials' runs stand in
    devices: list[str] = field(default_factory=list)  # of CUDA, as CUDA_VISIBLE_DEVICES names them; none: the CPU
    stop: Callable[[], bool] = lambda: False
    _running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _noted: float = 0.0
    _deaths: int = 0
    _epochs: int = -1  # of the study at the last death

    def work(self) -> None:
        """Returns when no worker finds another trial. Raises: what ended a worker, and StoppedError."""
        started, before = time.monotonic(), self._spent()
        (self.study.folder / worker.OVER).unlink(missing_ok=True)
        try:
            for number in range(self.workers):
                self._start(number)
            while self._running:
                time.sleep(POLL)
                if self.stop():
                    raise StoppedError("tune: stopped; the study is kept: run again to go on")
                self._look(before + time.monotonic() - started)
        finally:
            self._end()
            artifacts.write_json(self.study.folder / SPENT, before + time.monotonic() - started)

    def _spent(self) -> float:
        path = self.study.folder / SPENT
        return float(artifacts.read_json(path)) if path.is_file() else 0.0

    def _start(self, number: int) -> None:
        environment = os.environ | {"TQDM_DISABLE": "1", PARENT: self.parent}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[number % len(self.devices)]
        command = [sys.executable, "-m", "pipeline.search.worker", str(self.study.folder), str(os.getpid())]
        self._running[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)

    def _look(self, spent: float) -> None:
        """Notes the time, and how workers ended. Raises: what one of them ended with."""
        over = self.study.folder / worker.OVER
        if self.minutes is not None and spent > 60 * self.minutes and not over.exists():
            log.info("tune %s: %g minutes are over; trials at work end with their epoch", self.task, self.minutes)
            over.touch()
        if spent > self._noted + NOTED:
            self._noted = spent
            artifacts.write_json(self.study.folder / SPENT, spent)
        for number, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[number]
            if code > 0:
                raise _told(code)
            if code < 0:
                self._died(number, code)

    def _died(self, number: int, code: int) -> None:
        """Starts a worker again that a signal has ended. Raises: TrainingError where that does not help."""
        epochs = self.study.epochs
        self._deaths = 1 if epochs > self._epochs else self._deaths + 1
        self._epochs = epochs
        name = signal.Signals(-code).name
        if self._deaths >= DEATHS:
            raise TrainingError(
                f"tune: worker {number} died by {name}, the {DEATHS}th death in a row without an epoch in between; "
                "expected it to live; take fewer tune.workers if memory was short, and run again to go on"
            )
        log.warning("tune: worker %d died by %s; another takes its trial over", number, name)
        self._start(number)

    def _end(self) -> None:
        """Asks all workers to stop, waits for their checkpoints, and kills those that go on."""
        for process in self._running.values():
            process.terminate()
        until = time.monotonic() + STOP
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
        for process in self._running.values():
            process.kill()
            process.wait()


def _told(code: int) -> PipelineError:
    """A worker's end as an error of this process; its own words stand above."""
    kinds = {kind.exit_code: kind for kind in (PipelineError, errors.ChangingError, TrainingError, StoppedError)}
    kind = kinds.get(code, TrainingError)
    return kind(f"a worker ended with {code}; the lines above say why; run again to go on")
