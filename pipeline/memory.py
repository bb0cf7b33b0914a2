"""What fits into memory: tells that it is full, and finds the largest batch that it holds."""

import resource
import sys
from collections.abc import Callable

import psutil
import torch

from pipeline import distributed
from pipeline.errors import TrainingError

SHARE = 0.8  # of the free memory that a batch may take
FIRST = 16  # examples of the first batch that is tried


def exhausted(error: BaseException) -> bool:
    """Whether the device's or the machine's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


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
            before = _resident()
            if not _fits(attempt, min(2 * size, most)):
                break
            size = min(2 * size, most)
            if device.type == "cpu" and 2 * (_resident() - before) > SHARE * free() / distributed.world():
                break
    return distributed.smallest(size)


def _fits(attempt: Callable[[int], None], size: int) -> bool:
    """Raises: what stops a single example, and what has another cause."""
    try:
        attempt(size)
    except Exception as error:
        if not exhausted(error):
            raise
        if size == 1:
            raise TrainingError("train.batch_size: one example is too much for the memory; expected room") from error
        return False
    return True


def _resident() -> int:
    """The most bytes that this process has held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def free() -> int:
    """Bytes that this process may still take: what the system has, or its own limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    found: int = psutil.virtual_memory().available
    return found if limit == resource.RLIM_INFINITY else min(found, limit - psutil.Process().memory_info().vms)
