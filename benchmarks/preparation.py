"""Preparing images against the tutorial's `Image.open().convert().resize().save()`, by CPU time, interleaved.

Ours decodes with every guard and conversion, resizes and writes to the memory-mapped array. Needs data/raw/solar.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import artifacts
from pipeline.features import decoding

SIZE = 112


def tutorial(paths: list[Path], out: Path) -> None:
    for k, path in enumerate(paths):
        Image.open(path).convert("L").resize((SIZE, SIZE)).save(out / f"{k}.png")


def ours(paths: list[Path], out: Path) -> None:
    limits = decoding.Limits()
    shape = (len(paths), SIZE, SIZE, 1)
    store = np.lib.format.open_memmap(out / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    for k, path in enumerate(paths):
        image = decoding.decode(decoding.read(path, limits), limits).image
        store[k] = decoding.fit(image, SIZE, "crop", "grey")
    store.flush()


def cpu_seconds(work: Callable[[list[Path], Path], None], paths: list[Path]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        work(paths, Path(folder))
        return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="50 images, one round")
    options = parser.parse_args()
    paths = sorted(artifacts.folder("raw", "solar").rglob("*.png"))[: 50 if options.quick else 500]
    rounds = [(cpu_seconds(ours, paths), cpu_seconds(tutorial, paths)) for _ in range(1 if options.quick else 5)]
    mine, peer = (1000 * statistics.median(times) / len(paths) for times in zip(*rounds, strict=True))
    ratio = statistics.median(b / a for a, b in rounds)
    name = f"preparing solar cells, 300 px PNG to {SIZE} px, against the tutorial loop"
    print(f"{name}: {mine:.3f} ms, tutorial {peer:.3f} ms, {ratio:.2f}×")
    row = {"name": name, "ours": mine, "peer": peer, "ratio": ratio, "goal": None, "unit": "CPU ms/image"}
    if options.json:
        artifacts.write_json(options.json, [row])


if __name__ == "__main__":
    main()
