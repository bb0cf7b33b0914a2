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
    """In the place of a result: the item took too long, or ended its process."""

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

    An item that takes more than `deadline` seconds, or whose process dies, gives a `Lost`. `setup` runs once in each
    process before the first item. With workers=0 everything runs in this process, without a deadline.

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

    def run(self, items: Iterator[Any], workers: int) -> Iterator[Any]:
        numbered = enumerate(items)
        done: dict[int, Any] = {}
        following = 0  # the next result to give out
        more = True
        while more or following in done or self._busy():
            while more and len(done) < AHEAD * workers and (worker := self._free(workers)):
                entry = next(numbered, None)
                more = entry is not None
                if entry is not None:
                    self._give(worker, *entry)
            while following in done:
                yield _raised(done.pop(following))
                following += 1
            if self._busy():
                done.update(self._collect())

    def _busy(self) -> list[_Worker[Any]]:
        return [worker for worker in self._workers if worker.number is not None]

    def _free(self, workers: int) -> _Worker[Any] | None:
        idle = next((worker for worker in self._workers if worker.number is None), None)
        return idle or (self._start() if len(self._workers) < workers else None)

    def _start(self) -> _Worker[Any]:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._function, self._setup), daemon=True)
        process.start()
        theirs.close()
        worker: _Worker[Any] = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _give(self, worker: _Worker[Any], number: int, item: Any) -> None:
        worker.number, worker.since = number, time.monotonic()
        with contextlib.suppress(OSError):  # it has died; `_collect` sees it
            worker.pipe.send(item)

    def _collect(self) -> Iterator[tuple[int, Any]]:
        """Waits for a result; replaces what has died or takes too long."""
        busy = self._busy()
        connection.wait([worker.pipe for worker in busy], timeout=self._patience(busy))
        for worker in busy:
            assert worker.number is not None
            try:
                while worker.number is not None and worker.pipe.poll():
                    message = worker.pipe.recv()
                    if message is None:
                        worker.ready, worker.since = True, time.monotonic()
                    else:
                        yield worker.number, message
                        worker.number = None
            except (EOFError, OSError):
                yield self._bury(worker, "its process died")
                continue
            if worker.number is not None and time.monotonic() - worker.since > self._limit(worker):
                yield self._bury(worker, f"took more than {self._limit(worker):g} s")

    def _limit(self, worker: _Worker[Any]) -> float:
        return self._deadline if worker.ready else GRACE

    def _patience(self, busy: list[_Worker[Any]]) -> float | None:
        left = min(worker.since + self._limit(worker) for worker in busy) - time.monotonic()
        return None if left == float("inf") else max(0.0, left) + 0.01

    def _bury(self, worker: _Worker[Any], reason: str) -> tuple[int, Any]:
        """The item that was in work is lost with its process."""
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if not worker.ready:
            raise WorkerError(f"a worker process did not start: {reason}")
        assert worker.number is not None
        return worker.number, ("lost", Lost(reason))

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
                pipe.send(("result", function(item)))
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001  whatever an item raises belongs to the parent
                _send_error(pipe, error)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _send_error(pipe: Any, error: Exception) -> None:
    import traceback

    try:
        pipe.send(("error", error))
    except Exception:  # noqa: BLE001  it cannot be pickled
        pipe.send(("error", WorkerError("".join(traceback.format_exception(error)))))
