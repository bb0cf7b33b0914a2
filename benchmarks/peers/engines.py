"""Times graphs of onnxruntime and OpenVINO by turns in one process, one thread, batch 1, by its CPU time.

Arguments: a folder of exchange.py with *.onnx and *.xml, and the rounds. In an interpreter that has onnxruntime and
openvino. Prints for each graph in JSON {"median", "p95"} in milliseconds, "bytes", and "macro_f1" on validation.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import exchange
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from pipeline import latency

TIMED = 200  # examples, as the stage compress times


def onnx_runtime(path: Path) -> Callable[[exchange.Feed], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0]


def open_vino(path: Path) -> Callable[[exchange.Feed], Any]:
    """For batches of one; else with its own defaults, bf16 for what is not int8 where the CPU has it."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    shape = model.input(0).partial_shape
    shape[0] = 1
    model.reshape(shape)
    threads = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", threads).create_infer_request()
    return lambda feed: request.infer(feed)[0]


def size(path: Path) -> int:
    return sum(part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.is_file())


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    files = sorted([*folder.glob("*.onnx"), *folder.glob("*.xml")])
    calls = {path.stem: (onnx_runtime if path.suffix == ".onnx" else open_vino)(path) for path in files}
    feeds, labels = exchange.read(folder, "validation")
    told: dict[str, Any] = {}
    for path in files:
        answers = exchange.outputs(calls[path.stem], feeds).argmax(axis=1)
        told[path.stem] = {"bytes": size(path), "macro_f1": exchange.macro_f1(labels, answers)}
    rows = np.unique(np.linspace(0, len(feeds) - 1, min(TIMED, len(feeds))).round().astype(int))
    taken = latency.measure(calls, [feeds[row] for row in rows], rounds, time.process_time)
    print(json.dumps({name: told[name] | asdict(found) for name, found in taken.items()}))


if __name__ == "__main__":
    main()
