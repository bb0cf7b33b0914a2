"""Size and speed of the served nets against eager PyTorch and ONNX Runtime fp32: batch 1, one thread, interleaved.

Needs the compressed models of the tasks in params.yaml (`danlu run --until compress`). Times are the thread's own.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from pipeline import artifacts, config, graphs, latency, network


def measure(task: config.Task, rounds: int) -> list[dict[str, Any]]:
    """Rows of one task's net: bytes against fp32, and median latency against eager and fp32."""
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    loaded = network.load(artifacts.folder("models", task.name))
    split = reader.load(artifacts.folder("prepared", task.name), artifacts.folder("features", task.name), "validation")
    feeds = graphs.of_net(split, loaded.inputs).spread(100)
    folder = artifacts.folder("compressed", task.name)
    served = artifacts.read_json(folder / "compress.json")["candidates"]["net"]["chosen"]
    files = {name: folder / "net" / f"{name}.onnx" for name in ("fp32", served)}

    def eager(feed: graphs.Feed) -> Any:
        with torch.inference_mode():
            return loaded.net(*(torch.from_numpy(array) for array in feed.values()))

    calls = {"eager": eager, **{name: graphs.answer(graphs.session(path)) for name, path in files.items()}}
    taken = latency.measure(calls, feeds, rounds, time.thread_time)
    mine = taken[served].median
    sizes = {name: path.stat().st_size for name, path in files.items()}

    def row(name: str, ours: float, peer: float, goal: float | None, unit: str) -> dict[str, Any]:
        return {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "unit": unit}

    return [
        row(f"{task.name} net, {served} against eager PyTorch", mine, taken["eager"].median, 5, "ms"),
        row(f"{task.name} net, {served} against ONNX Runtime fp32", mine, taken["fp32"].median, None, "ms"),
        row(f"{task.name} net, {served} file against fp32", sizes[served], sizes["fp32"], 3.5, "bytes"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, block in config.load().items():
        rows += measure(config.Task(name, block["kind"], block), 10 if options.quick else 200)
    for row in rows:
        goal = row["goal"] or "-"
        figures = f"{row['ours']:12.3f} {row['peer']:12.3f} {row['unit']:6} {row['ratio']:6.2f}×"
        print(f"{row['name']:52} {figures}  goal {goal}")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
