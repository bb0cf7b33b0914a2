"""What fits into memory: tells that it is full, and finds the largest batch that it holds."""

import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from pipeline import distributed
from pipeline.errors import TrainingError

RAISED = (MemoryError, RuntimeError)
"""The types of an error that `exhausted` may find to be want of memory."""
SHARE = 0.8  # of the free memory that a batch may take
FIRST = 16  # examples of the first batch that is tried
LACKING = ("DefaultCPUAllocator", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory")
LOOKS = 0.002  # seconds between two looks at what an attempt holds
GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # of Linux


def exhausted(error: BaseException) -> bool:
    """Whether the device's or the machine's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LACKING)  # NCCL's too


def largest(attempt: Callable[[int], None], most: int, device: torch.device) -> int:
    """The largest power of two, at most `most`, at which `attempt` of so many examples fits; `most` where all do.

    A CPU's memory is not tried until it is full, which would end the process: what twice the examples take is
    foretold from what the examples took.
    """
    size = min(FIRST, most)
    while not _fits(attempt, size) and size > 1:
        size //= 2
    if size == min(FIRST, most):
        while size < most:
            with _taken() as taken:
                fits = _fits(attempt, min(2 * size, most))
            if not fits:
                break
            size = min(2 * size, most)
            if device.type == "cpu" and 2 * taken[0] > SHARE * free() / distributed.world():
                break
    return distributed.smallest(size)


def _fits(attempt: Callable[[int], None], size: int) -> bool:
    """Raises: what stops a single example, and what has another cause."""
    try:
        attempt(size)
    except RAISED as error:
        if not exhausted(error):
            raise
        if size == 1:
            raise TrainingError("train.batch_size: one example is too much for the memory; expected room") from error
        return False
    return True


@contextmanager
def _taken() -> Iterator[list[int]]:
    """The bytes by which this process grew within the block, in a list that is filled at its end.

    To the byte where it never was as large before; as a thread saw it where it was, as after the reading of data.
    """
    process, over, taken = psutil.Process(), threading.Event(), [0]
    before, peak = process.memory_info().rss, _peak()
    seen = before

    def look() -> None:
        nonlocal seen
        while not over.wait(LOOKS):
            seen = max(seen, process.memory_info().rss)

    looking = threading.Thread(target=look, name="danlu-memory", daemon=True)
    looking.start()
    try:
        yield taken
    finally:
        over.set()
        looking.join()
        now = _peak()
        taken[0] = max(now if now > peak else 0, seen, process.memory_info().rss) - before


def _peak() -> int:
    """The most bytes that this process has ever held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def free() -> int:
    """Bytes that this process may still take: what the system has, its own limit or that of its container."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    found = min([psutil.virtual_memory().available, *_left_in_groups()])
    return found if limit == resource.RLIM_INFINITY else min(found, limit - psutil.Process().memory_info().vms)


def _left_in_groups() -> Iterator[int]:
    """Bytes below the limit of each cgroup that has one, from this process's own up; files it only read count as free.

    In a container the root of the tree is the container's own.
    """
    lines = OWN.read_text().splitlines() if OWN.is_file() else []
    mine = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    place = GROUPS / mine
    for folder in (place, *(parent for parent in place.parents if parent.is_relative_to(GROUPS))):
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
            held = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue  # the root of a whole machine has none
        if limit != "max":
            yield max(0, int(limit) - used + int(held.get("inactive_file", 0)))
