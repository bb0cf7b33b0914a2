"""Ranks: the one file that knows that several processes may train one network. One process is the plain case.

W ranks; a batch's rows are dealt out in W parts, the first to rank 0.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def local() -> int:
    """The rank among those of this machine, and so the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """The ranks can talk to one another within the block."""
    if world() == 1:
        yield
        return
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"  # counts and flags never wait for a GPU
    distributed.init_process_group(backend)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this process is the only rank: for what one of them does by itself."""
    before = {name: os.environ.pop(name) for name in ("RANK", "WORLD_SIZE") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def part(count: int) -> slice:
    """This rank's rows of so many."""
    return slice(count * rank() // world(), count * (rank() + 1) // world())


def wrapped(net: nn.Module, device: torch.device) -> nn.Module:
    """The network whose gradients are the mean over all ranks'; itself where there is one."""
    if world() == 1:
        return net
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)


def unsynced(net: nn.Module) -> AbstractContextManager[None]:
    """Gradients stay with their rank within the block: for all parts of a batch but the last."""
    return net.no_sync() if world() > 1 else contextlib.nullcontext()  # type: ignore[operator]


def total(value: float) -> float:
    """Added up over the ranks."""
    if world() == 1:
        return value
    from torch import distributed

    held = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(held)
    return float(held)


def smallest(value: int) -> int:
    """The least of all ranks'."""
    if world() == 1:
        return value
    from torch import distributed

    held = torch.tensor(value)
    distributed.all_reduce(held, distributed.ReduceOp.MIN)
    return int(held)


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Of each flag whether any rank has it."""
    if world() == 1:
        return flags
    from torch import distributed

    held = torch.tensor(flags, dtype=torch.uint8)
    distributed.all_reduce(held, distributed.ReduceOp.MAX)
    return tuple(map(bool, held.tolist()))


def gathered(rows: Tensor) -> Tensor:
    """The rows [n, …] of all ranks, rank 0's first, on every rank; each may have as many as it likes."""
    if world() == 1:
        return rows
    from torch import distributed

    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(world())]
    distributed.all_gather(counts, torch.tensor([len(rows)]))
    sizes = [int(count) for count in counts]
    padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
