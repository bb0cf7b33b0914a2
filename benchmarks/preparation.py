"""Preparing images against what a tutorial does, by CPU time, interleaved; benchmarks/text.py is the same for texts.

Ours decodes with every guard and conversion, resizes and writes to the memory-mapped array; the tutorial calls
`Image.open().convert().resize().save()`. Needs data/raw of the task solar.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline import artifacts
from pipeline.features import decoding
from pipeline.preparation import image

SIZE = 96  # pixels a side


def tutorial_images(paths: Sequence[Path], out: Path) -> None:
    for k, path in enumerate(paths):
        Image.open(path).convert("L").resize((SIZE, SIZE)).save(out / f"{k}.png")


def our_images(paths: Sequence[Path], out: Path) -> None:
    settings = image.Settings(Path(), SIZE, "crop", "grey", decoding.Limits())
    image.shard(image.Job(tuple(map(str, paths)), (None,) * len(paths), out / "images", settings))


def cpu_seconds(work: Callable[[Sequence[Any], Path], None], items: Sequence[Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        work(items, Path(folder))
        return time.process_time() - started


def measure(
    name: str, work: Callable[..., None], tutorial: Callable[..., None], items: Sequence[Any], rounds: int
) -> Any:
    """One row: CPU milliseconds an item, ours and the tutorial's by turns, and the median of the rounds' ratios."""
    for each in (work, tutorial):  # imports and dictionaries are loaded before the clock runs
        cpu_seconds(each, items[:2])
    taken = [(cpu_seconds(work, items), cpu_seconds(tutorial, items)) for _ in range(rounds)]
    mine, peer = (1000 * statistics.median(times) / len(items) for times in zip(*taken, strict=True))
    ratio = statistics.median(b / a for a, b in taken)
    return {"name": name, "ours": mine, "peer": peer, "ratio": ratio, "goal": None, "unit": "CPU ms/item"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few items, one round")
    options = parser.parse_args()
    rounds = 1 if options.quick else 5
    paths = sorted(artifacts.folder("raw", "solar").rglob("*.png"))[: 50 if options.quick else 500]
    images = f"solar cells, 300 px PNG to {SIZE} px, against the tutorial loop"
    rows = [measure(images, our_images, tutorial_images, paths, rounds)]
    for row in rows:
        print(f"{row['name']:64} {row['ours']:8.3f} {row['peer']:8.3f} {row['unit']} {row['ratio']:6.2f}×  goal -")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
