"""Test quality of the bundled tasks as the mean over split seeds, each trained from the validated rows on.

Needs data/raw and data/validated (`danlu run --until validate`). The registered candidate is the one with
the better validation headline. Five seeds take about half an hour on one core; --quick takes one seed and one epoch.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from pipeline import artifacts, metrics, prepared

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("split", "prepare", "featurize", "baseline", "tune", "train")
GOALS = {
    ("solar", "net", "macro_f1"): 0.77,
    ("solar", "net", "defect_accuracy"): 0.83,
    ("reviews", "registered", "accuracy"): 0.855,
    ("reviews", "net", "accuracy"): 0.835,
}


def workspace(folder: Path, seed: int, quick: bool) -> None:
    """params.yaml with another split seed beside links to the project's validated data."""
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text("utf-8"))
    for task in params["tasks"].values():
        task["prepare"]["seed"] = seed
        if quick:
            task["train"]["epochs"] = 1
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    (folder / "data").mkdir()
    (folder / ".dvc").mkdir()
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    for name in ("raw", "validated", "order"):
        (folder / "data" / name).symlink_to(ROOT / "data" / name)


def answers(task: str) -> dict[str, dict[str, np.ndarray]]:
    """Probabilities [N, K] of baseline and net on validation and test; the current folder is the workspace."""
    from pipeline import config, network

    prepared, features = artifacts.folder("prepared", task), artifacts.folder("features", task)
    reader = config.plugin("features", config.task(task).kind, "kind")
    loaded = network.load(artifacts.folder("models", task))
    found: dict[str, dict[str, np.ndarray]] = {"baseline": {}, "net": {}}
    for split in ("validation", "test"):
        found["baseline"][split] = np.load(artifacts.folder("baseline", task) / f"{split}.probabilities.npy")
        examples = reader.load(prepared, features, split)
        found["net"][split] = network.predict(loaded.net, examples, loaded.inputs, loaded.target)
    return found


def measure(task: str, binary: dict[str, list[str]]) -> dict[tuple[str, str, str], float]:
    folder = artifacts.folder("prepared", task)
    target = prepared.target(folder)
    labels = {split: prepared.labels(folder, split) for split in ("validation", "test")}
    scores = {
        (name, split): metrics.score(labels[split], by_split[split], target, binary)
        for name, by_split in answers(task).items()
        for split in labels
    }
    best = max(("baseline", "net"), key=lambda name: scores[name, "validation"]["macro_f1"])
    found = {name: scores[name, "test"] for name in ("baseline", "net")} | {"registered": scores[best, "test"]}
    wanted = ("accuracy", "macro_f1", *(f"{name}_accuracy" for name in binary))
    return {(task, name, metric): values[metric] for name, values in found.items() for metric in wanted}


def one_seed(seed: int, quick: bool) -> dict[tuple[str, str, str], float]:
    with tempfile.TemporaryDirectory() as folder:
        workspace(Path(folder), seed, quick)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        found: dict[tuple[str, str, str], float] = {}
        before = Path.cwd()
        try:
            os.chdir(folder)
            tasks = YAML(typ="safe").load(Path("params.yaml").read_text("utf-8"))["tasks"]
            for task, block in tasks.items():
                for stage in STAGES:
                    command = [sys.executable, "-m", f"pipeline.{stage}", task]
                    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
                found |= measure(task, block["evaluate"].get("binary", {}))
        finally:
            os.chdir(before)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: shows that it runs")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    runs = []
    for seed in range(1 if options.quick else options.seeds):
        runs.append(one_seed(seed, options.quick))
        print(f"split seed {seed}: done", file=sys.stderr, flush=True)
    rows: list[dict[str, Any]] = []
    for key in runs[0]:
        values = [run[key] for run in runs]
        mean = statistics.fmean(values)
        name = f"{' '.join(key)}, mean of {len(values)} split seeds"
        rows.append({"name": name, "ours": mean, "peer": None, "ratio": None, "goal": GOALS.get(key), "unit": "share"})
        print(f"{name:60} {mean:.4f}  goal {GOALS.get(key) or '-'}  {' '.join(f'{v:.4f}' for v in values)}", flush=True)
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
