"""OpenVINO on the CPU: it takes part where it is installed. This file travels with a served model.

B examples of a batch.
"""

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import rowwise
from pipeline.rowwise import Feed

PACKAGE = "openvino"
INSTALL = "pip install 'danlu[openvino]'"


def installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def load(graph: Path, threads: int | None = None) -> Callable[[Feed], Any]:
    """The graph as a function from a batch to outputs [B, …]. threads: of the CPU; None: every core.

    Arithmetic is fp32 unless the graph's weights are stored in bf16: then it is bf16 on CPUs that compute in it.
    Raises: RuntimeError for an operator that OpenVINO lacks.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(str(graph))
    alone = model.has_rt_info(["framework", rowwise.KEY])
    halved = any(
        operator.get_type_name() == "Constant" and operator.get_element_type() == openvino.Type.bf16
        for operator in model.get_ops()
    )
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if halved else "f32",  # its own default is bf16 wherever a CPU has that
        "ENABLE_CPU_PINNING": False,  # a server's other threads, or another engine's, may be on that core
    }
    compiled = core.compile_model(model, "CPU", settings | ({"INFERENCE_NUM_THREADS": threads} if threads else {}))
    own = threading.local()

    def run(feed: Feed) -> Any:
        if not hasattr(own, "request"):  # one answers one call at a time; a server has several threads
            own.request = compiled.create_infer_request()
        return own.request.infer(dict(feed), share_inputs=True)[0]

    return rowwise.answering(run, alone=alone)
