"""What a run uses of its machine: chosen where a setting says `auto`, and said with the reason."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch

from pipeline import config as settings
from pipeline import distributed
from pipeline.errors import ConfigError
from pipeline.fit.settings import Config

WORTH_COMPILING = 2000
"""Steps of a run from which on a compiler's minute is won back on a GPU."""


@dataclass(frozen=True)
class Choices:
    device: torch.device
    precision: torch.dtype  # that matrix products are computed in
    channels_last: bool
    fused: bool
    compile: str  # a mode of torch.compile, or off
    threads: int  # of the CPU, of this rank
    reasons: Mapping[str, str]  # by setting: what it became and why


def choose(config: Config, *, images: bool, examples: int, batch_size: int | None = None) -> Choices:
    """For a train split of so many examples. batch_size: the one that was found, where it was to be.

    Raises: ConfigError for what this machine lacks.
    """
    optimizer = settings.plugin("optimizers", config.optimizer.name, "train.optimizer.name")
    size = {"all": examples, "auto": batch_size}.get(str(config.batch_size), config.batch_size)
    steps = config.epochs * -(-examples // int(size)) if size is not None else None
    device, why_device = _device(config)
    precision, why_precision = _precision(config, device)
    channels_last, why_format = _memory_format(config, images)
    fused, why_fused = _fused(config, optimizer, device)
    mode, why_compile = _compile(config, device, steps)
    threads, why_threads = _threads(config)
    reasons = {
        "device": f"{device.type} ({why_device})",
        "precision": f"{str(precision).removeprefix('torch.')} ({why_precision})",
        "memory_format": f"{'channels_last' if channels_last else 'contiguous'} ({why_format})",
        "fused": f"{'on' if fused else 'off'} ({why_fused})",
        "compile": f"{mode} ({why_compile})",
        "threads": f"{threads} ({why_threads})",
    }
    return Choices(device, precision, channels_last, fused, mode, threads, reasons)


def _threads(config: Config) -> tuple[int, str]:
    if config.threads != "auto":
        return config.threads, "as train.threads says"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // distributed.world()), "the cores of this process"


def require_devices(config: Config) -> None:
    """Raises: ConfigError for more processes than there are GPUs to train on."""
    many = config.parallel.processes
    if many == 1 or config.device == "cpu" or not torch.cuda.is_available():
        return
    if many > torch.cuda.device_count():
        found = f"train.parallel.processes: found {many} with {torch.cuda.device_count()} CUDA devices"
        raise ConfigError(f"{found}; expected at most one for each; take fewer, or set train.device: cpu")


def _device(config: Config) -> tuple[torch.device, str]:
    found = torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise ConfigError("train.device: found cuda, and PyTorch sees no CUDA device; set it to auto or cpu")
    require_devices(config)
    if config.device == "cpu" or not found:
        return torch.device("cpu"), "as train.device says" if config.device == "cpu" else "no CUDA device was found"
    number = distributed.local()
    return torch.device("cuda", number), f"{torch.cuda.get_device_name(number)} was found"


def _precision(config: Config, device: torch.device) -> tuple[torch.dtype, str]:
    if config.precision != "auto":
        if config.precision == "fp16" and device.type == "cpu":
            raise ConfigError("train.precision: found fp16 on a CPU; expected auto, fp32 or bf16")
        named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return named[config.precision], "as train.precision says"
    if device.type == "cpu":
        return torch.float32, "the same on every CPU"
    if torch.cuda.get_device_capability(device)[0] >= 8:
        return torch.bfloat16, "the device's matrix units have it, and it needs no scaling"
    return torch.float16, "the device's matrix units have it, and no bf16"


def _memory_format(config: Config, images: bool) -> tuple[bool, str]:
    if not images:
        return False, "texts have no channels"
    if config.memory_format != "auto":
        return config.memory_format == "channels_last", "as train.memory_format says"
    return True, "convolutions are faster on it, on CPUs and on tensor cores"


def _fused(config: Config, optimizer: ModuleType, device: torch.device) -> tuple[bool, str]:
    there = device.type in optimizer.FUSED
    if config.fused == "on" and not there:
        name = optimizer.__name__.rpartition(".")[2]
        raise ConfigError(f"train.fused: found on, and PyTorch has no fused {name} for {device.type}; set it to auto")
    if config.fused != "auto":
        return config.fused == "on", "as train.fused says"
    return there, "one kernel for all weights" if there else f"PyTorch has none for {device.type}"


def _compile(config: Config, device: torch.device, steps: int | None) -> tuple[str, str]:
    if config.compile != "auto":
        return config.compile, "as train.compile says"
    if config.recompute == "stages":
        return "off", "what is computed twice cannot be compiled"
    if config.parallel.processes > 1:
        return "off", "not by itself with several processes"
    if device.type == "cpu":
        return "off", "on CPUs the compiler's minute is seldom won back"
    if importlib.util.find_spec("triton") is None:
        return "off", "triton is not installed"
    if steps is None:
        return "off", "not before the batch size is known"
    if steps < WORTH_COMPILING:
        return "off", f"{steps:,} steps are too few to win back the compiler's minute"
    return "default", f"{steps:,} steps win back the compiler's minute"
