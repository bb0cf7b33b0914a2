"""The latency of one graph, timed as onnxruntime_perf_test does: load, warm up, run input after input.

Arguments: the graph, and a .npz of each input; it takes turns with them. Needs onnxruntime and numpy alone.
Prints milliseconds on one thread, by its own CPU time and by the clock: {"cpu_ms": {"median", "p95"}, "wall_ms"}.
"""

import json
import sys
import time

import numpy as np
import onnxruntime

WARM_UP, TIMES = 200, 4000


def main() -> None:
    graph, *inputs = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feeds = [dict(np.load(path)) for path in inputs]
    cpu, wall = [], []
    for k in range(WARM_UP + TIMES):
        feed = feeds[k % len(feeds)]
        started = time.thread_time(), time.perf_counter()
        session.run(None, feed)
        cpu.append(time.thread_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    found = {"cpu_ms": cpu[WARM_UP:], "wall_ms": wall[WARM_UP:]}
    quantiles = {name: 1e3 * np.quantile(seconds, [0.5, 0.95]) for name, seconds in found.items()}
    print(json.dumps({name: {"median": a, "p95": b} for name, (a, b) in quantiles.items()}))


if __name__ == "__main__":
    main()
