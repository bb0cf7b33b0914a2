"""ONNX Runtime on the CPU, the default: its fp32 graph is what all others are held to.

This file travels with a served model. B examples of a batch.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import rowwise
from pipeline.rowwise import Feed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PACKAGE, OTHERS = "onnxruntime", ("onnxruntime-gpu",)
INSTALL = "pip install onnxruntime"


def installed() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def load(graph: Path, threads: int | None = None) -> Callable[[Feed], Any]:
    """The graph as a function from a batch to outputs [B, …]. threads: of the CPU; None: every core."""
    return answer(session(graph, threads or 0))


def session(graph: Path, threads: int = 1, providers: Sequence[str] = ("CPUExecutionProvider",)) -> "InferenceSession":
    """The graph ready to answer, on so many CPU threads; 0: every core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=list(providers))


def answer(run: "InferenceSession") -> Callable[[Feed], Any]:
    """The session as a function from a batch to outputs [B, …]."""
    names = [run.get_outputs()[0].name]
    alone = run.get_modelmeta().custom_metadata_map.get(rowwise.KEY) == rowwise.ALONE
    return rowwise.answering(lambda feed: run.run(names, dict(feed))[0], alone=alone)
