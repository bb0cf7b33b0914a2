"""ONNX Runtime on a CUDA device; what has no kernel there runs on the CPU. This file travels with a served model.

Answers come back as arrays of the CPU, so a call ends when the device has finished.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.engines import onnxruntime as on_cpu
from pipeline.errors import ConfigError
from pipeline.rowwise import Feed

PACKAGE = "onnxruntime-gpu"
INSTALL = "pip install onnxruntime-gpu in place of onnxruntime"
PROVIDER = "CUDAExecutionProvider"


def installed() -> bool:
    """Whether the package was built for CUDA; whether there is a device, only `load` knows."""
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    return PROVIDER in onnxruntime.get_available_providers()


def load(graph: Path, threads: int | None = None) -> Callable[[Feed], Any]:
    """The graph as a function from a batch to outputs [B, …].

    Raises: ConfigError where ONNX Runtime finds no device or none of CUDA's libraries: it would go on without a word.
    """
    run = on_cpu.session(graph, threads or 0, (PROVIDER, "CPUExecutionProvider"))
    if PROVIDER not in run.get_providers():
        raise ConfigError(
            f"compress.target.device: found cuda, where ONNX Runtime answers by {', '.join(run.get_providers())}; "
            f"expected {PROVIDER}; install CUDA's libraries for its version, or set cpu"
        )
    return on_cpu.answer(run)
