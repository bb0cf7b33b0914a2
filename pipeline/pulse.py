"""Which rank this is, and how far, in a file of a few bytes that others can read; nothing where no file was asked for.

A thread of its own counts too, and so tells a process that is stopped from one that waits.
"""

import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

STORE = "DANLU_STORE"  # of our own ranks alone: others' launchers set RANK and WORLD_SIZE too
PERIOD = 0.5  # seconds between two counts of the thread
_FORM = struct.Struct("<7q")
_ALIVE = struct.Struct("<q")


def rank() -> int:
    """0 where this process is alone."""
    return int(os.environ["RANK"]) if STORE in os.environ else 0


@dataclass(frozen=True)
class Seen:
    """beats: of its work. epoch: from 1, 0 before the first. step: of the run, the last that is done.

    saved: the step of the last checkpoint that it wrote. waits: whether it has done its share of a step and waits for
    the others. alive: what its thread has counted.
    """

    pid: int
    beats: int
    epoch: int
    step: int
    saved: int
    waits: bool
    alive: int

    @property
    def place(self) -> str:
        return f"in epoch {self.epoch}, after step {self.step}" if self.epoch else "before its first step"


class _Pulse:
    def __init__(self, path: Path):
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY)
        self.beats = self.epoch = self.step = self.saved = 0
        self.waits = False
        os.pwrite(self._file, _FORM.pack(os.getpid(), 0, 0, 0, 0, 0, 0), 0)
        threading.Thread(target=self._live, name="pulse", daemon=True).start()

    def write(self) -> None:
        self.beats += 1
        now = _FORM.pack(os.getpid(), self.beats, self.epoch, self.step, self.saved, self.waits, 0)
        os.pwrite(self._file, now[: -_ALIVE.size], 0)

    def _live(self) -> None:
        ended = threading.Event()
        alive = 0
        while not ended.wait(PERIOD):
            alive += 1
            os.pwrite(self._file, _ALIVE.pack(alive), _FORM.size - _ALIVE.size)


_current: _Pulse | None = None


def start(path: Path) -> None:
    """This process tells its pulse there from now on."""
    global _current
    _current = _Pulse(path)


def beat(*, waits: bool = False) -> None:
    """Some work is done; `waits` until the next beat."""
    if _current:
        _current.waits = waits
        _current.write()


def at(epoch: int, step: int) -> None:
    """`step` of the run is done, in `epoch` (from 1)."""
    if _current:
        _current.epoch, _current.step = epoch, step
        beat()


def saved(step: int) -> None:
    """A checkpoint of that step is written."""
    if _current:
        _current.saved = step
        beat()


def read(path: Path) -> Seen | None:
    """None where the rank has not begun."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(found) < _FORM.size:
        return None
    pid, beats, epoch, step, saved, waits, alive = _FORM.unpack(found)
    return Seen(pid, beats, epoch, step, saved, bool(waits), alive)
