"""A thread that fills reused buffers some batches ahead of who reads them."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

from pipeline.errors import TrainingError

Job = TypeVar("Job")
Buffer = TypeVar("Buffer")
Result = TypeVar("Result")
PATIENCE = 30.0
"""Seconds to wait for the thread's last batch when its reader stops."""


def ahead(
    jobs: Iterable[Job], fill: Callable[[Job, Buffer], Result], buffers: list[Buffer]
) -> Generator[Result, None, None]:
    """`fill(job, buffer)` for each job in order; a result holds until the next one is asked for.

    With one buffer all is done by the reader's own thread; each further one lets the thread run one batch ahead.
    An error of a job is raised where its result is asked for. The thread ends with the reader.
    """
    if len(buffers) == 1:
        yield from (fill(job, buffers[0]) for job in jobs)
        return
    thread = _Thread(jobs, fill, buffers)
    try:
        yield from thread.results()
    finally:
        thread.end()


class _Thread(threading.Thread, Generic[Job, Buffer, Result]):
    def __init__(self, jobs: Iterable[Job], fill: Callable[[Job, Buffer], Result], buffers: list[Buffer]):
        super().__init__(name="danlu-loader", daemon=True)
        self.jobs, self.fill = jobs, fill
        self.free: queue.SimpleQueue[Buffer | None] = queue.SimpleQueue()
        self.ready: queue.SimpleQueue[tuple[Result, Buffer] | BaseException | None] = queue.SimpleQueue()
        self.ended = threading.Event()
        for buffer in buffers:
            self.free.put(buffer)
        self.start()

    def run(self) -> None:
        try:
            for job in self.jobs:
                buffer = self.free.get()
                if buffer is None or self.ended.is_set():
                    return
                self.ready.put((self.fill(job, buffer), buffer))
            self.ready.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self.ready.put(error)

    def results(self) -> Iterator[Result]:
        while (item := self._next()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
            self.free.put(item[1])

    def _next(self) -> tuple[Result, Buffer] | BaseException | None:
        while True:
            try:
                return self.ready.get(timeout=1)
            except queue.Empty:
                if not self.is_alive() and self.ready.empty():
                    raise TrainingError("the thread that reads ahead has ended without a word; run again") from None

    def end(self) -> None:
        self.ended.set()
        self.free.put(None)
        self.join(PATIENCE)
