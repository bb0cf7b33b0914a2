"""The latency of one graph for one input, timed as onnxruntime_perf_test does: load, warm up, run again and again.

Arguments: the graph, its inputs as .npz, and how many times. Needs onnxruntime and numpy, and nothing of this project.
Prints milliseconds on one thread, by its own CPU time and by the clock: {"cpu_ms": {"median", "p95"}, "wall_ms"}.
"""

import json
import sys
import time

import numpy as np
import onnxruntime

WARM_UP = 50


def main() -> None:
    graph, inputs = sys.argv[1:3]
    times = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    with np.load(inputs) as arrays:
        feed = dict(arrays)
    cpu, wall = [], []
    for _ in range(WARM_UP + times):
        started = time.thread_time(), time.perf_counter()
        session.run(None, feed)
        cpu.append(time.thread_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    found = {"cpu_ms": cpu[WARM_UP:], "wall_ms": wall[WARM_UP:]}
    quantiles = {name: 1e3 * np.quantile(seconds, [0.5, 0.95]) for name, seconds in found.items()}
    print(json.dumps({name: {"median": a, "p95": b} for name, (a, b) in quantiles.items()}))


if __name__ == "__main__":
    main()
