"""Processes that work items off side by side, of which none can hang or die unnoticed.

The standard pools wait for ever for an item that does not end, and lose an item with the process that died of it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 8  # results a worker that wait for one before them
GRACE = 60.0  # seconds to start and to import


@dataclass(frozen=True)
class Lost:
    """In the place of a result: the item took too long, or ended two processes."""

    reason: str


class WorkerError(Exception):
    """An item raised; the text is the worker's traceback."""


def count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def imap(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    deadline: float | None = None,
    setup: Callable[[], None] | None = None,
) -> Iterator[Result | Lost]:
    """`function` of each item, in the items' order; both must be importable by name, or pickled otherwise.

    An item that takes more than `deadline` seconds gives a `Lost`. One whose process dies is given to another, since
    the system kills for want of memory whom it likes; the second death is a `Lost`. `setup` runs once in each process
    before the first item. With workers=0 everything runs in this process, without a deadline.

    Raises: what an item raises, if it can be pickled, else WorkerError.
    """
    if workers < 1:
        if setup:
            setup()
        yield from map(function, items)
        return
    pool = _Pool(function, setup, deadline)
    try:
        yield from pool.run(iter(items), workers)
    finally:
        pool.close()


@dataclass
class _Worker(Generic[Item]):
    process: Any
    pipe: Any
    number: int | None = None  # of the item in work
    item: Item | None = None
    since: float = 0.0  # when it was given
    ready: bool = False


class _Pool:
    """One item at a time is with each process: two in a pipe could wait for one another for ever."""

    def __init__(
        self, function: Callable[[Any], Any], setup: Callable[[], None] | None, deadline: float | None
    ) -> None:
        self._function, self._setup = function, setup
        self._deadline = float("inf") if deadline is None else deadline
        self._workers: list[_Worker[Any]] = []
        self._again: list[tuple[int, Any]] = []  # whose process died
        self._tried: set[int] = set()  # the numbers of all that were ever among them

    def run(self, items: Iterator[Any], workers: int) -> Iterator[Any]:
        numbered = enumerate(items)
        done: dict[int, Any] = {}
        following = 0  # the next result to give out
        more = True
        while more or self._again or following in done or self._busy():
            while self._again and (worker := self._free()):  # the others' results may be waiting for this one
                self._give(worker, *self._again.pop())
            while more and len(done) < AHEAD * workers and (worker := self._free()):
                entry = next(numbered, None)
                more = entry is not None
                if entry is not None:
                    self._give(worker, *entry)
            while following in done:
                yield _raised(done.pop(following))
                following += 1
            wanted = more or bool(self._again)
            if wanted and len(self._workers) < workers and not self._free():
                self._start()
            waiting = self._busy() or (self._starting() if wanted else [])
            if waiting:
                done.update(self._collect())

    def _busy(self) -> list[_Worker[Any]]:
        return [worker for worker in self._workers if worker.number is not None]

    def _starting(self) -> list[_Worker[Any]]:
        return [worker for worker in self._workers if not worker.ready]

    def _free(self) -> _Worker[Any] | None:
        """A worker that waits for an item; one that is still starting would let a large item block the pipe."""
        for worker in [worker for worker in self._workers if worker.ready and worker.number is None]:
            if worker.process.is_alive():
                return worker
            self._end(worker)
        return None

    def _start(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._function, self._setup), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, since=time.monotonic()))

    def _give(self, worker: _Worker[Any], number: int, item: Any) -> None:
        worker.number, worker.item, worker.since = number, item, time.monotonic()
        with contextlib.suppress(OSError):  # it has died; `_collect` sees it
            worker.pipe.send(item)

    def _collect(self) -> Iterator[tuple[int, Any]]:
        """Waits for a result, or for a process to be ready; replaces what has died or takes too long."""
        busy = self._busy() + self._starting()
        connection.wait([worker.pipe for worker in busy], timeout=self._patience(busy))
        for worker in busy:
            try:
                while (worker.number is not None or not worker.ready) and worker.pipe.poll():
                    message = worker.pipe.recv()
                    if worker.number is None:
                        worker.ready = True
                    else:
                        yield worker.number, message
                        worker.number = worker.item = None
            except (EOFError, OSError):
                if worker.ready and worker.number is not None and worker.number not in self._tried:
                    self._tried.add(worker.number)
                    self._again.append((worker.number, worker.item))
                    self._end(worker)
                else:
                    yield self._bury(worker, "its process died")
                continue
            waits = worker.number is not None or not worker.ready
            if waits and time.monotonic() - worker.since > self._limit(worker):
                yield self._bury(worker, f"took more than {self._limit(worker):g} s")

    def _limit(self, worker: _Worker[Any]) -> float:
        return self._deadline if worker.ready else GRACE

    def _patience(self, busy: list[_Worker[Any]]) -> float | None:
        left = min(worker.since + self._limit(worker) for worker in busy) - time.monotonic()
        return None if left == float("inf") else max(0.0, left) + 0.01

    def _bury(self, worker: _Worker[Any], reason: str) -> tuple[int, Any]:
        """The item that was in work is lost with its process."""
        self._end(worker)
        if not worker.ready:
            raise WorkerError(f"a worker process did not start: {reason}")
        assert worker.number is not None
        return worker.number, ("lost", Lost(reason))

    def _end(self, worker: _Worker[Any]) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()


def _raised(message: tuple[str, Any]) -> Any:
    kind, value = message
    if kind == "error":
        raise value
    return value


def _serve(pipe: Any, function: Callable[[Any], Any], setup: Callable[[], None] | None) -> None:
    """A worker's life; it ends when the other side of the pipe does."""
    if setup:
        setup()
    try:
        pipe.send(None)
        while True:
            item = pipe.recv()
            try:
                found = ("result", function(item))
            except Exception as error:  # noqa: BLE001  whatever an item raises belongs to the parent
                _send_error(pipe, error)
            else:
                pipe.send(found)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _send_error(pipe: Any, error: Exception) -> None:
    import traceback

    try:
        pipe.send(("error", error))
    except Exception:  # noqa: BLE001  it cannot be pickled
        pipe.send(("error", WorkerError("".join(traceback.format_exception(error)))))
