"""Preparing images and texts against what a tutorial does, by CPU time, interleaved.

Images: ours decodes with every guard and conversion, resizes and writes to the memory-mapped array; the tutorial
calls `Image.open().convert().resize().save()`. Texts: ours cleans, cuts and writes ragged arrays; the tutorial
cuts with jieba too, counts, encodes and pads. Needs data/raw of the tasks solar and reviews.
"""

import argparse
import collections
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline import artifacts
from pipeline.features import decoding
from pipeline.preparation import text
from pipeline.tokenisers import jieba

SIZE = 96  # pixels a side
LENGTH, WORDS = 100, 20_000  # tokens of a padded text and words kept, as tutorials have them


def tutorial_images(paths: Sequence[Path], out: Path) -> None:
    for k, path in enumerate(paths):
        Image.open(path).convert("L").resize((SIZE, SIZE)).save(out / f"{k}.png")


def our_images(paths: Sequence[Path], out: Path) -> None:
    limits = decoding.Limits()
    shape = (len(paths), SIZE, SIZE, 1)
    store = np.lib.format.open_memmap(out / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    for k, path in enumerate(paths):
        image = decoding.decode(decoding.read(path, limits), limits).image
        store[k] = decoding.fit(image, SIZE, "crop", "grey")
    store.flush()


def tutorial_texts(lines: Sequence[str], out: Path) -> None:
    tokeniser = jieba.build(jieba.Config(), cache=artifacts.STATE)
    texts = [tokeniser.cut(re.sub(r"\s+", "", line)) for line in lines]
    counted = collections.Counter(word for words in texts for word in words)
    index = {word: k + 1 for k, (word, _) in enumerate(counted.most_common(WORDS))}
    padded = [([index.get(word, 0) for word in words] + [0] * LENGTH)[:LENGTH] for words in texts]
    np.save(out / "texts.npy", np.array(padded))


def our_texts(lines: Sequence[str], out: Path) -> None:
    frame = pd.DataFrame({"text": list(lines)})
    text.write({"train": frame}, Path(), out, text.Config(), {})


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
    manifest = pd.read_parquet(artifacts.folder("raw", "reviews") / "manifest.parquet", columns=["text"])
    lines = manifest["text"].dropna().drop_duplicates().tolist()[: 200 if options.quick else 3000]
    images = f"solar cells, 300 px PNG to {SIZE} px, against the tutorial loop"
    rows = [
        measure(images, our_images, tutorial_images, paths, rounds),
        measure("reviews, raw lines to arrays, against the tutorial loop", our_texts, tutorial_texts, lines, rounds),
    ]
    for row in rows:
        print(f"{row['name']:64} {row['ours']:8.3f} {row['peer']:8.3f} {row['unit']} {row['ratio']:6.2f}×  goal -")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
