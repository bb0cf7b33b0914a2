"""How the cost of preparing an image and the memory for it grow with the number of images.

`python benchmarks/scale.py 1000 10000 100000 1000000` runs the stages split and prepare as processes on so many rows
at 32 pixels, and writes CPU time an image and the anonymous memory of the stage and of its workers to
docs/scale-images.csv and docs/scale-images.svg. Of a thousand such small images most of the time is the start of the
processes; so the cost of each image more, from one size to the next, stands beside the whole. The rows share 2,000
JPEG files of random crops of scikit-learn's photographs, each with a digest of its own, so that each is decoded; disk
then holds the arrays of all.
"""

import argparse
import csv
import hashlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from pipeline import arrivals, artifacts, config, parts

ROOT = Path(__file__).parents[1]
FILES, SIDE, SIZE = 2_000, 40, 32  # distinct files, pixels a side of each, pixels a side prepared
Row = dict[str, Any]
CLASSES = ["a", "b", "c", "d"]


def write_files(folder: Path) -> None:
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True)
    random, photographs = np.random.default_rng(0), load_sample_images().images
    for k in range(FILES):
        photograph = photographs[k % len(photographs)]
        top, left = (int(random.integers(0, side - SIDE)) for side in photograph.shape[:2])
        Image.fromarray(photograph[top : top + SIDE, left : left + SIDE]).save(folder / f"{k}.jpg", quality=90)


def rows(count: int) -> Iterator[dict[str, Any]]:
    for k in range(count):
        digest = hashlib.sha256(str(k).encode()).hexdigest()
        row = {"id": f"{k:08}.jpg", "path": f"{k % FILES}.jpg", "label": CLASSES[k % len(CLASSES)], "group": None}
        yield row | {"split": None, "probabilities": None, "sha256": digest, "content": digest, "channels": 3}


def write_project(folder: Path, count: int) -> None:
    """What stage validate would leave of so many images."""
    import pandas as pd
    import pyarrow as pa

    names = ("id", "path", "label", "group", "split", "probabilities", "sha256", "content")
    schema = pa.schema([*((name, pa.string()) for name in names), ("channels", pa.int64())])
    validated = folder / "data/validated/many"
    parts.write(rows(count), schema, validated / "accepted")
    pd.DataFrame([], columns=["a", "b"], dtype="str").to_parquet(validated / "neighbours.parquet")
    arrivals.extend(folder / "data/order/many", arrivals.keys(row["content"] for row in rows(count)))
    limits = {"max_bytes": 1 << 20, "max_pixels": 1 << 20}
    artifacts.write_json(validated / "summary.json", {"classes": CLASSES, "settings": limits})
    block: dict[str, Any] = {name: {} for name in config.SECTIONS}
    block |= {"kind": "image", "prepare": {"side": SIZE}, "source": {"name": "image_folder", "path": "x"}}
    (folder / "params.yaml").write_text(json.dumps({"tasks": {"many": block}}))


class Peak(threading.Thread):
    """The largest anonymous memory of a process and of each of its children, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process, self.parent, self.worker = psutil.Process(pid), 0.0, 0.0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            try:
                self.parent = max(self.parent, anonymous(self._process.pid))
                self.worker = max([self.worker, *(anonymous(child.pid) for child in self._process.children())])
            except (OSError, psutil.Error):
                continue


def anonymous(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def stage(name: str, folder: Path) -> tuple[float, float, Peak]:
    """CPU and wall seconds of one stage, its workers' included, and its memory."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DANLU_RUN": "1", "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", f"pipeline.{name}", "many"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        peak = Peak(process.pid)
        peak.start()
        _, errors = process.communicate()
    peak.over.set()
    peak.join()
    if process.returncode:
        raise SystemExit(errors)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, time.monotonic() - started, peak


def measure(count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="danlu-scale-") as name:
        folder = Path(name)
        write_files(folder / "data/raw/many/files")
        write_project(folder, count)
        split, _, split_peak = stage("split", folder)
        prepare, wall, peak = stage("prepare", folder)
    return {
        "images": count,
        "prepare_cpu_s": round(prepare, 2),
        "split_cpu_s": round(split, 2),
        "prepare_cpu_us_per_image": round(1e6 * prepare / count, 1),
        "split_cpu_us_per_image": round(1e6 * split / count, 1),
        "prepare_wall_s": round(wall, 1),
        "prepare_mb": round(peak.parent, 1),
        "worker_mb": round(peak.worker, 1),
        "split_mb": round(split_peak.parent, 1),
    }


def add_marginal(measured: Sequence[Row]) -> None:
    """Of each stage, what each image more than in the row before has cost; empty in the first row."""
    for name in ("prepare", "split"):
        measured[0][f"{name}_cpu_us_per_image_more"] = None
        for before, row in itertools.pairwise(measured):
            more = row[f"{name}_cpu_s"] - before[f"{name}_cpu_s"]
            row[f"{name}_cpu_us_per_image_more"] = round(1e6 * more / (row["images"] - before["images"]), 1)


def draw(measured: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "danlu"
    from matplotlib import pyplot

    figure, (cost, memory) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    x = [row["images"] for row in measured]
    for name, style in (("prepare", "o-"), ("split", "s--")):
        whole, more = ([row[f"{name}_cpu_us_per_image{part}"] for row in measured] for part in ("", "_more"))
        cost.plot(x[1:], more[1:], style, label=f"{name}, each image more")
        cost.plot(x, whole, ":", color=cost.lines[-1].get_color(), label=f"{name}, with its start")
    cost.set(ylabel="CPU µs an image", yscale="log")
    for name, style in (("prepare", "o-"), ("worker", "^-"), ("split", "s--")):
        memory.plot(x, [row[f"{name}_mb"] for row in measured], style, label=name)
    memory.set(ylabel="anonymous memory, MB", ylim=(0, None))
    for axes in (cost, memory):
        axes.set(xlabel=f"images of {SIZE} pixels", xscale="log")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of the table and the plot")
    options = parser.parse_args()
    measured = []
    for count in options.images:
        measured.append(measure(count))
        print(measured[-1], flush=True)
    add_marginal(measured)
    with (options.out / "scale-images.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(measured[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(measured)
    draw(measured, options.out / "scale-images.svg")


if __name__ == "__main__":
    main()
