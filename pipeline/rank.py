"""One of several processes that train one network: what it is told, what it tells, and that it outlives nobody.

`python -m pipeline.rank MODULE WORD…` is torchrun over such processes, as ranks.py starts it.
"""

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import artifacts, pulse, stage

FOLDER, STARTER, PROCESSES = "DANLU_RANKS", "DANLU_STARTER", "DANLU_PROCESSES"
ROWS, STOP, CODES = "rows.jsonl", "stop", "codes.json"  # in the folder
POLL = 0.5  # seconds
DIES_WITH_PARENT = 1  # of Linux's prctl


def started() -> bool:
    """Whether this process is one of several."""
    return FOLDER in os.environ


def folder() -> Path:
    return Path(os.environ[FOLDER])


def tie(starter: int) -> None:
    """This process is killed as soon as the one that started it has ended, be it by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)

    def watch() -> None:
        ended = threading.Event()
        while os.getppid() == starter:
            ended.wait(POLL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="tie", daemon=True).start()


def serve(work: Callable[[], None]) -> None:
    """Does this rank's work, and leaves a note of how it ended: only a process that was killed leaves none."""
    tie(int(os.environ[STARTER]))
    level = os.environ.get("DANLU_LOG", "INFO") if pulse.rank() == 0 else "ERROR"
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    pulse.start(folder() / f"{pulse.rank()}.pulse")
    try:
        work()
    except BaseException as error:  # noqa: BLE001  a process boundary: ranks.py tells the user
        _note(error)
        sys.stderr.flush()
        os._exit(getattr(stage.known(error), "exit_code", 1))  # no clean-up can wait for ranks that are gone
    _note(None)


def _note(error: BaseException | None) -> None:
    known = stage.known(error) if error else None
    text = "".join(traceback.format_exception(error)) if error and not known else ""
    kind = type(known).__name__ if known else "" if error else "done"
    said = {"kind": kind, "message": str(known or error or ""), "trace": text, "time": time.time()}
    artifacts.write_json(folder() / f"{pulse.rank()}.end.json", said | {"certain": getattr(known, "certain", True)})


def asked_to_stop() -> bool:
    return (folder() / STOP).exists()


class Rows:
    """Takes the place of a tracked run: what rank 0 logs goes to the process that started all."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if pulse.rank() == 0:
            with (folder() / ROWS).open("ab", buffering=0) as file:
                file.write(json.dumps([step, dict(values)]).encode() + b"\n")


def _main() -> None:
    tie(int(os.environ[STARTER]))
    os.environ[STARTER] = str(os.getpid())
    from pipeline import distributed

    codes = distributed.launch(int(os.environ[PROCESSES]), folder(), sys.argv[1:])
    artifacts.write_json(folder() / CODES, list(codes.items()))


if __name__ == "__main__":
    _main()
