"""A served graph once more in a fresh process: its bytes by their digest, what it answers, and the memory it takes.

`python -m pipeline.reloading JOB.json`, one process a graph, so that one which crashes takes nothing else along.
N examples, O outputs.
"""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts, config, inference, prepared
from pipeline.config import Task

SECONDS = 1800.0
"""After which a process that answers is taken for one that hangs."""


@dataclass(frozen=True)
class Reloaded:
    answers: np.ndarray | None  # float32 [N, O], of the validation split
    memory: int | None  # bytes
    error: str = ""


def reload(task: Task, candidate: str, graph: Path, scratch: Path, engine: str = "onnxruntime") -> Reloaded:
    """What the graph's file answers to the validation split in a process of its own."""
    scratch.mkdir(parents=True, exist_ok=True)
    job, out = scratch / f"{graph.stem}.json", scratch / f"{graph.stem}.npy"
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    told = {"task": task.name, "kind": task.kind, "candidate": candidate, "graph": str(graph), "engine": engine}
    artifacts.write_json(job, told | {"sha256": digest, "out": str(out)})
    command = [sys.executable, "-m", "pipeline.reloading", str(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return Reloaded(None, None, f"it did not answer within {SECONDS / 60:g} minutes in a fresh process")
    if done.returncode:
        line = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Reloaded(None, None, f"it could not be loaded and asked in a fresh process: {line[:200]}")
    return Reloaded(np.load(out, allow_pickle=False), json.loads(done.stdout)["memory"])


def main() -> None:
    import psutil

    from pipeline import graphs

    job: dict[str, Any] = artifacts.read_json(Path(sys.argv[1]))
    task = Task(job["task"], job["kind"], {})
    graph = Path(job["graph"])
    content = graph.read_bytes()
    if hashlib.sha256(content).hexdigest() != job["sha256"]:
        sys.exit(f"{graph}: found other bytes than were written; expected sha256 {job['sha256']}")
    examples, kind = examples_of(task, job["candidate"], "validation")
    del content
    first = examples.spread(20)
    process = psutil.Process()
    before = process.memory_info().rss
    answer = inference.engine(job["engine"]).load(graph, 1)
    for feed in first:
        answer(feed)
    memory = max(0, process.memory_info().rss - before)
    found = graphs.answers(answer, examples, kind)
    if not np.isfinite(found).all():
        sys.exit(f"{graph}: an answer is not a finite number")
    with Path(job["out"]).open("wb") as file:
        np.save(file, found)
    print(json.dumps({"memory": memory}))


def examples_of(task: Task, candidate: str, split: str) -> tuple[Any, Any]:
    """What the graphs of a candidate read of a split, and the kind of what they answer."""
    from pipeline import graphs

    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    target = prepared.target(folder)
    if candidate == "net":
        rows = reader.load(folder, features, split)
        return graphs.of_net(rows, reader.inputs(folder, features), target.kind), target.kind
    truth = prepared.truth(folder, split)
    weights = reader.weights(folder, features, (split,))[split]
    return graphs.of_terms(weights, truth[reader.counting(features, split, len(truth))]), target.kind


if __name__ == "__main__":
    main()
