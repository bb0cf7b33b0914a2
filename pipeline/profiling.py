"""The one profile that choices read: all graphs and the eager network by turns, kept by their bytes and the CPU."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, inference, latency
from pipeline.budget import Device

if TYPE_CHECKING:
    from pipeline.graphs import Examples, Feed

TIMED = 200
"""Validation examples on which latency is measured."""
LEAST = 10
"""Turns of a large batch: it has fewer, since each takes longer and is less noisy."""
Found = dict[str, dict[str, dict[str, float]]]
"""By variant and batch size: median and p95 in milliseconds."""


def profile(
    torch_calls: Mapping[str, Callable[["Feed"], np.ndarray]],
    examples: "Examples",
    files: Mapping[str, tuple[str, Path]],
    device: Device,
    kept: Path,
) -> Found:
    """The latency of every variant, from an earlier run on this host where the graphs are the same.

    torch_calls: by variant, what PyTorch runs. files: by variant, its engine and its graph.
    """
    versions = [f"{package} {version(package)}" for package in ("torch", *_packages(files))]
    digest = hashlib.sha256(f"{latency.processor()} {device} {list(torch_calls)} {versions}".encode())
    for name, (engine, path) in sorted(files.items()):
        digest.update(f"{name} {engine}".encode() + path.read_bytes())
    path = kept / f"{digest.hexdigest()[:32]}.json"
    if path.is_file():
        found: Found = artifacts.read_json(path)
        return found
    found = _measured(torch_calls, examples, files, device)
    artifacts.write_json(path, found)
    return found


def _packages(files: Mapping[str, tuple[str, Path]]) -> list[str]:
    return sorted({inference.package(inference.engine(engine)) for engine, _ in files.values()})


def _measured(
    torch_calls: Mapping[str, Callable[["Feed"], np.ndarray]],
    examples: "Examples",
    files: Mapping[str, tuple[str, Path]],
    device: Device,
) -> Found:
    import torch

    calls: dict[str, Callable[[Any], object]] = dict(torch_calls)
    calls |= {name: inference.engine(engine).load(path, device.threads) for name, (engine, path) in files.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(device.threads)
    # On one thread the thread's own CPU time is what a quiet core needs, however busy this host is.
    clock = time.thread_time if device.threads == 1 and device.device == "cpu" else time.perf_counter
    found: Found = {name: {} for name in calls}
    try:
        for size in device.batch_sizes:
            rounds = max(LEAST, device.rounds // size)
            batches = batches_of(examples, size)
            for name, taken in latency.measure(calls, batches, rounds, clock, device.threads).items():
                found[name][str(size)] = asdict(taken)
    finally:
        torch.set_num_threads(threads)
    return found


def batches_of(examples: "Examples", size: int) -> list["Feed"]:
    """Batches of this size spread over the split; the last rows again where it is smaller than one."""
    if size == 1:
        return examples.spread(TIMED)
    count = max(1, min(TIMED, len(examples)) // size)
    rows = np.linspace(0, len(examples) - 1, count * size).round().astype(np.int64)
    return [examples.read(some) for some in rows.reshape(count, size)]
