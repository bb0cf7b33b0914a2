"""Ranks: the one file that knows that several processes may train one network. One process is the plain case.

W ranks; a batch's rows are dealt out in W parts, the first to rank 0.
"""

import contextlib
import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import batches, pulse
from pipeline.pulse import STORE

FOREVER = timedelta(days=30)  # who started the ranks ends those that hang: see ranks.py


def launch(processes: int, folder: Path, words: Sequence[str]) -> dict[int, int]:
    """Runs `python -m` so many times, by torchrun and without a port; the exit codes by rank if any fails.

    Those that ended first stand first, then those that torchrun ended.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()  # its words would bury the cause
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # it would listen on every network
    os.environ[STORE] = str(folder / "store")
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder / 'meeting'}", "--rdzv-conf=store_type=file"]
    here = ["--nnodes=1", f"--nproc-per-node={processes}", "--local-addr=127.0.0.1", f"--log-dir={folder / 'log'}"]
    try:
        run.main([*meeting, *here, "--rdzv-id=danlu", "--max-restarts=0", "--module", *words])
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    return {}


def rank() -> int:
    return pulse.rank()


def world() -> int:
    return int(os.environ["WORLD_SIZE"]) if STORE in os.environ else 1


def local() -> int:
    """The rank among those of this machine, and so the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if STORE in os.environ else 0


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """The ranks can talk to one another within the block."""
    if world() == 1:
        yield
        return
    from torch import distributed

    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"  # counts and flags never wait for a GPU
        torch.cuda.set_device(device)
    store = distributed.FileStore(os.environ[STORE], world())
    distributed.init_process_group(backend, store=store, rank=rank(), world_size=world(), timeout=FOREVER)
    yield
    distributed.destroy_process_group()  # not after an error: it would wait for the others


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this process is the only rank: for what one of them does by itself."""
    before = os.environ.pop(STORE, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[STORE] = before


def part(count: int) -> slice:
    """This rank's rows of so many."""
    return batches.part(count, rank(), world())


def wrapped(net: nn.Module, device: torch.device) -> nn.Module:
    """The network whose gradients are the mean over all ranks'; itself where there is one."""
    if world() == 1:
        return net
    from torch.nn.parallel import DistributedDataParallel

    devices = [device.index] if device.type == "cuda" else None
    newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}  # see `even_norms`
    return DistributedDataParallel(net, device_ids=devices, **buffers)


def synced(net: nn.Module, stages: Sequence[nn.Module], device: torch.device) -> tuple[nn.Module, list[nn.Module]]:
    """A network whose batch norms count over all ranks, and its stages; where that is impossible, the same.

    PyTorch can do so on GPUs alone: on CPUs each rank norms by its own part, see `even_norms`.
    """
    if world() == 1 or device.type != "cuda":
        return net, list(stages)
    return converted(net, stages)


def converted(net: nn.Module, stages: Sequence[nn.Module]) -> tuple[nn.Module, list[nn.Module]]:
    """The same with every batch norm a SyncBatchNorm, in the network and in stages that are lists of its modules."""
    names = {module: name for name, module in net.named_modules()}
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)

    def now(stage: nn.Module) -> nn.Module:
        if stage in names:
            return net.get_submodule(names[stage])
        for name, part in stage.named_children():
            setattr(stage, name, now(part))
        return stage

    return net, [now(stage) for stage in stages]


def even_norms(net: nn.Module) -> None:
    """After a step: batch norms' running statistics become their mean over the ranks, which then have one network."""
    if world() == 1:
        return
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training and m.running_mean is not None]
    held = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    if not held or any(isinstance(norm, nn.SyncBatchNorm) for norm in norms):
        return
    from torch import distributed

    flat = torch.cat([value.flatten().double() for value in held])
    with _waiting():
        distributed.all_reduce(flat)
    for value, mean in zip(held, (flat / world()).split([value.numel() for value in held])):
        value.copy_(mean.view_as(value))


@contextmanager
def _waiting() -> Iterator[None]:
    """For what all ranks do together."""
    pulse.beat(waits=True)
    yield
    pulse.beat()


def unsynced(net: nn.Module) -> AbstractContextManager[None]:
    """Gradients stay with their rank within the block: for all parts of a batch but the last."""
    return net.no_sync() if world() > 1 else contextlib.nullcontext()  # type: ignore[operator]


def total(value: float) -> float:
    """Added up over the ranks."""
    if world() == 1:
        return value
    from torch import distributed

    held = torch.tensor(value, dtype=torch.float64)
    with _waiting():
        distributed.all_reduce(held)
    return float(held)


def smallest(value: int) -> int:
    """The least of all ranks'."""
    if world() == 1:
        return value
    from torch import distributed

    held = torch.tensor(value)
    with _waiting():
        distributed.all_reduce(held, distributed.ReduceOp.MIN)
    return int(held)


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Of each flag whether any rank has it."""
    if world() == 1:
        return flags
    from torch import distributed

    held = torch.tensor(flags, dtype=torch.uint8)
    with _waiting():
        distributed.all_reduce(held, distributed.ReduceOp.MAX)
    return tuple(map(bool, held.tolist()))


def gathered(rows: Tensor) -> Tensor:
    """The rows [n, …] of all ranks, rank 0's first, on every rank; each may have as many as it likes."""
    if world() == 1:
        return rows
    from torch import distributed

    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(world())]
    with _waiting():
        distributed.all_gather(counts, torch.tensor([len(rows)]))
    sizes = [int(count) for count in counts]
    padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    with _waiting():
        distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
