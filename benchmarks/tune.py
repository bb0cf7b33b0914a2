"""A search's compute: TPE with successive halving (ASHA) against random trials of full length, on digits.

scikit-learn's 1,797 pictures of 8 × 8 pixels are an image task in a temporary project, through the stages as a user
runs them. For each seed 60 random trials train to their end; what is counted is how much of their epochs the other
search, of as many trials, takes until it has a validation loss as low as their best, once with the task's own values as
its first trial, as a search begins, and once without. Then what a trial costs outside of its epochs, and
two workers against one, both by wall time. --quick takes a few small trials.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline import artifacts

ROOT = Path(__file__).resolve().parents[1]
TASK = "digits"
EPOCHS, TRIALS = 27, 60
SPACE = {
    "train.optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.optimizer.weight_decay": {"low": 1e-3, "high": 1.0, "log": True},
    "train.batch_size": [16, 32, 64, 128],
    "model.dropout": {"low": 0.0, "high": 0.6},
    "train.images.shift": {"low": 0.0, "high": 0.25},
}
RANDOM = {"sampler": {"name": "random"}, "own_first": False}
ASHA = {"sampler": {"name": "tpe"}, "pruner": {"name": "halving", "first": 3, "factor": 3}}
"""Chosen on seeds 10 to 14."""


def project(folder: Path) -> None:
    """The pictures in a folder a class, and what the stages need beside them."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / "photos" / str(label) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9375).astype("uint8")).save(place)
    (folder / ".dvc").mkdir()
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    (folder / "expectations").mkdir()
    settle(folder, {})
    for stage in ("fetch", "validate", "split", "prepare", "featurize"):
        run(folder, stage)


def settle(folder: Path, tune: dict[str, Any], epochs: int = EPOCHS) -> None:
    """params.yaml with this search."""
    from ruamel.yaml import YAML

    from pipeline import config

    sections: dict[str, Any] = {name: {} for name in config.SECTIONS}
    sections |= {"kind": "image", "source": {"name": "image_folder", "path": "photos"}, "prepare": {"side": 8}}
    sections |= {"model": {"name": "mlp", "widths": [64]}, "tune": tune}
    sections["train"] = {"epochs": epochs, "patience": epochs, "images": {"flips": "none"}}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"tasks": {TASK: sections}}, file)


def run(folder: Path, stage: str) -> float:
    """Runs a stage as dvc does; its wall time in seconds."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DANLU_LOG": "WARNING"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", f"pipeline.{stage}", TASK], cwd=folder, env=environment, check=True)
    return time.monotonic() - started


def searched(folder: Path, tune: dict[str, Any], epochs: int) -> tuple[dict[str, Any], float]:
    """The study of a search, and its wall time."""
    shutil.rmtree(folder / ".danlu" / "journal", ignore_errors=True)
    settle(folder, tune, epochs)
    seconds = run(folder, "tune")
    return artifacts.read_json(folder / "data" / "tuned" / TASK / "study.json"), seconds


def share(random: dict[str, Any], other: dict[str, Any]) -> float:
    """Of the epochs that the random trials took: how many the other search took until it was as good; inf if never."""
    goal = min(trial["value"] for trial in random["trials"] if trial["value"] is not None)
    whole, spent = sum(trial["epochs"] for trial in random["trials"]), 0
    for trial in other["trials"]:
        spent += trial["epochs"]
        if trial["value"] is not None and trial["value"] <= goal:
            return spent / whole
    return float("inf")


def outside(folder: Path, study: dict[str, Any]) -> float:
    """Seconds of a trial that are not its epochs', the median: drawing, building the net, recording, the next one."""
    inside = {}
    for path in (folder / ".danlu" / "journal").rglob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        if "/trial " in lines[0]["name"]:
            number = int(lines[0]["name"].rpartition(" ")[2])
            inside[number] = sum(line["values"]["seconds"] for line in lines if "values" in line)
    starts = [trial["started"] for trial in study["trials"]]
    spans = [after - before for before, after in itertools.pairwise(starts)]
    return statistics.median(span - inside[number] for number, span in enumerate(spans))


def row(name: str, ours: float, peer: float | None, goal: float | None, unit: str) -> dict[str, Any]:
    found = {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours if peer else None}
    return found | {"goal": goal, "unit": unit}


def measure(folder: Path, seeds: int, quick: bool) -> list[dict[str, Any]]:
    trials, epochs = (6, 9) if quick else (TRIALS, EPOCHS)
    shares, costs, alone, together = [], [], 0.0, 0.0
    for seed in range(seeds):
        base = {"trials": trials, "space": SPACE, "seed": seed}
        random, alone = searched(folder, base | RANDOM, epochs)
        costs.append(outside(folder, random))
        both = [searched(folder, base | ASHA | {"own_first": own}, epochs)[0] for own in (True, False)]
        shares.append([share(random, other) for other in both])
        best = [min(t["value"] for t in study["trials"] if t["value"] is not None) for study in (random, *both)]
        said = f"shares {shares[-1][0]:.3f} and {shares[-1][1]:.3f}, best {best[1]:.4f} and {best[2]:.4f}"
        print(f"seed {seed}: {said}, random {best[0]:.4f}", file=sys.stderr)
    _, together = searched(folder, base | RANDOM | {"workers": 2, "measure": "accuracy"}, epochs)
    own, drawn = (statistics.median(each) for each in zip(*shares, strict=True))
    name = f"epochs of TPE with ASHA by those of {trials} random trials, to the same loss"
    return [
        row(name, own, None, 0.25, "share"),
        row(f"{name}, no trial with the task's own values", drawn, None, None, "share"),
        row("a trial outside of its epochs", statistics.median(costs), None, 1.0, "s"),
        row(f"{trials} random trials by two workers against one", together, alone, None, "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="a few short trials: shows that it runs")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project(Path(folder))
        rows = measure(Path(folder), 1 if options.quick else options.seeds, options.quick)
    for found in rows:
        against = f"  peer {found['peer']:.2f}  {found['ratio']:.2f}×" if found["peer"] else ""
        print(f"{found['name']:70} {found['ours']:.3f} {found['unit']}{against}  goal {found['goal'] or '-'}")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
