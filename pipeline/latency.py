"""How long one answer takes: several callables measured by turns, so that what disturbs one disturbs all."""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WARM_UP = 3
"""Rounds that are not counted."""
BLOCK, WARMING = 12, 2
"""Answers in a row that count, and before them those that do not: by these a callable gets the caches back."""
SPIN = 0.03
"""Seconds after its last answer in which an engine's threads have gone to sleep: until then they wait for work by
spinning, and take a core from the next callable (0.84 ms on two threads seemed to be 1.44)."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds a call."""

    median: float
    p95: float


def measure(
    calls: Mapping[str, Callable[[Any], object]],
    examples: Sequence[Any],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    threads: int = 1,
) -> dict[str, Latency]:
    """Each callable's latency over `rounds` rounds, in each of which every callable answers examples in a row.

    Rounds spread a disturbance over all callables, blocks let each work from its own caches as it would when serving:
    with blocks of four a graph of 0.06 ms seemed to take 0.09. Which callable begins turns by one each round. With one
    thread `time.thread_time` is the better clock: it leaves out what other processes took. With several threads each
    callable answers for `SPIN` seconds before its block counts.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for k in range(-WARM_UP, rounds):
            block = [examples[(k * BLOCK + place) % len(examples)] for place in range(-WARMING, BLOCK)]
            for name in names[k % len(names) :] + names[: k % len(names)]:
                for example in block[:WARMING]:
                    calls[name](example)
                settled = time.perf_counter() + (SPIN if threads > 1 else 0)
                while time.perf_counter() < settled:
                    calls[name](block[0])
                for example in block[WARMING:]:
                    started = clock()
                    calls[name](example)
                    seconds[name].append(clock() - started)
    finally:
        if collecting:
            gc.enable()
    return {name: _latency(taken[BLOCK * WARM_UP :]) for name, taken in seconds.items()}


def _latency(seconds: Sequence[float]) -> Latency:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]
    return Latency(round(1e3 * statistics.median(ordered), 5), round(1e3 * p95, 5))


def processor() -> str:
    """The CPU's name and the cores this process may use: latencies hold for this host alone."""
    import platform

    name = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text("utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"
