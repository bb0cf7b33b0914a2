"""Runs one stage of the graph, as `dvc repro --single-item` in a process group of its own."""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.artifacts import STATE

GRACE = 25.0  # seconds that an ended stage has for its checkpoint
State = Literal["ran", "restored", "unchanged", "failed", "skipped", "stopped"]
# DVC's own words, which a reader of the run need not see
CHATTER = re.compile(
    r"Running stage '|Stage '.*' (is cached|didn't change)|Updating lock file|Generating lock file|Use `dvc push`"
    r"|To track the changes|\s*git add |To enable auto staging|\s*dvc config core\.autostage|> |Data and pipelines are"
    r"|$"
)
ENDED = re.compile(r"exited with (-?\d+)")
# An error with a message: to try again gives the same, unlike with 5, data that changed while they were read.
KNOWN_CODES = {2, 3, 4}


@dataclass(frozen=True)
class Outcome:
    """How a stage ended. seconds: wall time, DVC's share included. said: its last lines, when it failed."""

    stage: str
    state: State
    seconds: float = 0.0
    code: int = 0
    said: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.state in ("ran", "restored", "unchanged")

    @property
    def worth_retrying(self) -> bool:
        return self.state == "failed" and self.code not in KNOWN_CODES


class Running:
    """A stage at work; `stop` may be called from another thread. again: after an attempt that failed."""

    def __init__(self, stage: str, *, again: bool = False) -> None:
        self.stage = stage
        self._again = again
        self._stopped = False
        command = [sys.executable, "-m", "flows.leash", str(GRACE)]
        command += [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C and a kill of the run's group reach it through its leash alone
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    def stop(self) -> None:
        self._stopped = True
        if self._process.stdin:
            self._process.stdin.close()

    def wait(self, show: Callable[[str], None]) -> Outcome:
        """Passes on what the stage says, line by line, and returns how it ended."""
        started = time.monotonic()
        state: State = "unchanged"
        code = 0
        said: deque[str] = deque(maxlen=20)
        log = STATE / "logs" / f"{self.stage}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        assert self._process.stdout
        with log.open("a" if self._again else "w", encoding="utf-8") as file:
            for raw in self._process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                file.write(line + "\n")
                if line.startswith("Running stage '"):
                    state = "ran"
                elif re.match(r"Stage '.*' is cached", line):
                    state = "restored"
                if ended := ENDED.search(line) if line.startswith("ERROR: ") else None:
                    code = int(ended[1])
                elif not CHATTER.match(line):
                    said.append(line)
                    show(line)
        returned = self._process.wait()
        self._process.stdout.close()
        if self._process.stdin:
            self._process.stdin.close()
        seconds = time.monotonic() - started
        if self._stopped:
            return Outcome(self.stage, "stopped", seconds, 130)
        if returned:
            return Outcome(self.stage, "failed", seconds, code or 1, tuple(said))
        return Outcome(self.stage, state, seconds)
