"""How many of planted wrong labels the ranking of suspects has in its first tenth.

Needs data/raw, data/validated and data/tuned (`danlu run --until tune`). A twentieth of each bundled task's labels is
changed to another class, drawn by seed, in a project of its own, where the stages crossvalidate and suspects then run.
Five folds take about 17 minutes on two cores; --quick takes two folds of one epoch.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from pipeline import artifacts, parts

ROOT = Path.cwd()
CODE = Path(__file__).resolve().parents[1]
STAGES = ("crossvalidate", "suspects")
FLIPPED, LOOKED_AT = 0.05, 0.1  # shares of the rows
GOAL = 0.6
LINKED = ("pipeline", "dictionaries", "vectors", "weights")


def flip(folder: Path, seed: int) -> set[str]:
    """Changes labels in a folder of validated rows, probabilities with them; returns the ids."""
    classes = artifacts.read_json(folder / "summary.json")["classes"]
    random = np.random.default_rng(seed)
    count = sum(len(part) for part in parts.each(folder / "accepted", ["id"]))
    chosen = set(random.choice(count, round(FLIPPED * count), replace=False).tolist())
    found: set[str] = set()
    start = 0
    for path in parts.files(folder / "accepted"):
        table = pd.read_parquet(path)
        for row in [row for row in range(len(table)) if start + row in chosen]:
            before = str(table.at[row, "label"])
            after = str(random.choice([name for name in classes if name != before]))
            table.at[row, "label"] = after
            given = table.at[row, "probabilities"]
            if isinstance(given, str):
                table.at[row, "probabilities"] = json.dumps(_exchanged(json.loads(given), before, after))
            found.add(str(table.at[row, "id"]))
        start += len(table)
        path.unlink()  # it may be a link to DVC's cache
        table.to_parquet(path, index=False)
    return found


def _exchanged(given: dict[str, float], before: str, after: str) -> dict[str, float]:
    """Probabilities of two classes in each other's place."""
    place = {before: after, after: before}
    return {place.get(name, name): value for name, value in given.items()}


def workspace(folder: Path, task: str, block: Any, seed: int, quick: bool) -> set[str]:
    """A project with the task alone, its labels flipped; returns the ids of those that are.

    One that is there is made anew but for the folds that have ended, which are kept.
    """
    block["crossvalidate"] = {"folds": 2 if quick else 5, "seed": seed}
    block["suspects"] = {"rows": 100}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"tasks": {task: block}}, file)
    (folder / ".dvc").mkdir(exist_ok=True)
    for name in LINKED:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(CODE / name)
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw" / task).symlink_to(ROOT / "data/raw" / task)
    values = artifacts.read_json(ROOT / "data/tuned" / task / "values.json")
    if quick:
        values["train"]["epochs"] = 1
    artifacts.write_json(folder / "data/tuned" / task / "values.json", values)
    shutil.copytree(ROOT / "data/validated" / task, folder / "data/validated" / task)
    return flip(folder / "data/validated" / task, seed)


def recall(table: pd.DataFrame, flipped: set[str]) -> float:
    """The share of the flipped labels in the first tenth of the ranking."""
    first = table.sort_values("rank")["id"][: round(LOOKED_AT * len(table))]
    return len(flipped & set(first)) / len(flipped)


def measure(task: str, block: Any, seed: int, quick: bool, keep: Path | None) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep / f"{task}-{seed}" if keep else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        flipped = workspace(folder, task, block, seed, quick)
        environment = os.environ | {"PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", "DANLU_RUN": "sources stay away"}
        for stage in STAGES:
            command = [sys.executable, "-m", f"pipeline.{stage}", task]
            subprocess.run(command, cwd=folder, env=environment, check=True)
        if keep:
            artifacts.write_json(folder / "flipped.json", sorted(flipped))
        table = pd.read_csv(folder / "data/suspects" / task / "suspects.csv", dtype={"id": str}, encoding="utf-8-sig")
        return recall(table, flipped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="two folds, one epoch: shows that it runs")
    parser.add_argument("--seed", type=int, default=0, help="which labels are flipped, and into which folds rows go")
    parser.add_argument("--task", action="append", help="this one alone")
    parser.add_argument("--keep", type=Path, help="leave each task's project in this folder")
    options = parser.parse_args()
    tasks = YAML(typ="safe").load(Path("params.yaml").read_text("utf-8"))["tasks"]
    rows = []
    for task in options.task or tasks:
        found = measure(task, tasks[task], options.seed, options.quick, options.keep)
        name = f"{task}, flipped labels in the first tenth"
        rows.append({"name": name, "ours": found, "peer": None, "ratio": None, "goal": GOAL, "unit": "share"})
        print(f"{name:60} {found:.3f}  goal {GOAL}", flush=True)
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
