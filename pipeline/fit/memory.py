"""What fits into memory: tells that it is full, and finds the largest batch that it holds."""

import os
import resource
from collections.abc import Callable

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
    size = fits = min(FIRST, most)
    while True:
        before = _resident()
        try:
            attempt(size)
        except Exception as error:
            if not exhausted(error):
                raise
            if size == 1:
                raise TrainingError(
                    "train.batch_size: one example is too much for the memory; expected room"
                ) from error
            if size <= fits:  # not even the first did
                size = fits = size // 2
                continue
            break
        fits = size
        if size == most or (device.type == "cpu" and 2 * (_resident() - before) > SHARE * free() / distributed.world()):
            break
        size = min(2 * size, most)
    return distributed.smallest(fits)


def _resident() -> int:
    """The most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free() -> int:
    """Bytes that this process may still take: what the system has, or its own limit."""
    found = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with open("/proc/meminfo", encoding="ascii") as file:
        found = next((int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable")), found)
    return found
