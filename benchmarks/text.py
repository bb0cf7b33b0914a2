"""Preparing texts against what a tutorial does, by CPU time, interleaved, and how the cost grows with the texts.

Ours cleans, cuts, writes shards and counts the vocabulary, in this process; the tutorial cuts with jieba, counts,
encodes and pads, all in memory; beside it the same loop with rjieba dropped in. Needs data/raw/reviews.
`--scale 15 300 2000` instead prepares so many megabytes of synthetic reviews with one worker process and one parent,
and writes CPU time a megabyte and the anonymous memory of both to docs/scale-text.csv and docs/scale-text.svg.
"""

import argparse
import collections
import csv
import itertools
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import artifacts, parts, shards, texts, workers
from pipeline.features import text as features
from pipeline.preparation import text
from pipeline.tokenisers import jieba

LENGTH, WORDS = 100, 20_000  # tokens of a padded text and words kept, as tutorials have them
DOCS = Path(__file__).parents[1] / "docs"


def tutorial(cut: Callable[[str], list[str]], lines: Sequence[str], out: Path) -> None:
    cuts = [cut(re.sub(r"\s+", "", line)) for line in lines]
    counted = collections.Counter(word for words in cuts for word in words)
    index = {word: k + 1 for k, (word, _) in enumerate(counted.most_common(WORDS))}
    padded = [([index.get(word, 0) for word in words] + [0] * LENGTH)[:LENGTH] for words in cuts]
    np.save(out / "texts.npy", np.array(padded))


def with_jieba(lines: Sequence[str], out: Path) -> None:
    tutorial(jieba.build(jieba.Config(), cache=artifacts.STATE).cut, lines, out)


def with_rjieba(lines: Sequence[str], out: Path) -> None:
    import rjieba

    tutorial(rjieba.cut, lines, out)


def ours(lines: Sequence[str], out: Path) -> None:
    settings = text.settings(text.Config(), Path(), np.zeros(0), Path(), {}, Path())
    stems = []
    for stem, rows in planned(len(lines), out):
        text.shard(text.Job(pa.array(lines[rows]), (None,) * (rows.stop - rows.start), stem, settings))
        stems.append(stem)
    words = features.vocabulary(features.counted(stems, out).items(2), features.Config())
    artifacts.write_json(out / "vocabulary.json", words)


def planned(count: int, out: Path) -> Iterator[tuple[Path, slice]]:
    """The shards that stage prepare would make of so many texts of one split."""
    size = shards.SHARD_BYTES // text.ROW_BYTES
    start = 0
    while start < count:
        end = min(count, start + parts.size(start, text.SMALLEST, size))
        yield out / f"{start:010}", slice(start, end)
        start = end


def cpu_seconds(work: Callable[[Sequence[str], Path], None], lines: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        work(lines, Path(folder))
        return time.process_time() - started


def measure(name: str, peer: Callable[..., None], goal: float, lines: Sequence[str], rounds: int) -> dict[str, Any]:
    """One row: CPU seconds, ours and the peer's by turns, and the median of the rounds' ratios."""
    for each in (ours, peer):  # imports and dictionaries are loaded before the clock runs
        cpu_seconds(each, lines[:2])
    taken = [(cpu_seconds(ours, lines), cpu_seconds(peer, lines)) for _ in range(rounds)]
    mine, other = (statistics.median(times) for times in zip(*taken, strict=True))
    ratio = statistics.median(b / a for a, b in taken)
    return {"name": name, "ours": mine, "peer": other, "ratio": ratio, "goal": goal, "unit": "CPU s"}


def synthetic(reviews: Sequence[str], megabytes: float) -> Iterator[list[str]]:
    """Reviews again and again, each time with another one's clause and a number in it, so that new words never end."""
    random = np.random.default_rng(0)
    left = megabytes * 1e6
    while left > 0:
        others = random.integers(0, len(reviews), len(reviews))
        numbers = random.integers(0, 10_000_000, len(reviews))
        made = [
            f"{one}，{reviews[other].split('，')[0]}{number}"
            for one, other, number in zip(reviews, others.tolist(), numbers.tolist())
        ]
        sizes = np.cumsum([len(line.encode()) for line in made])
        kept = int(np.searchsorted(sizes, left)) + 1
        yield made[:kept]
        left -= sizes[min(kept, len(made)) - 1]


def anonymous() -> float:
    """Megabytes of anonymous memory of this process: pages of memory-mapped files are the system's."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("RssAnon"))


class Peak:
    """The most anonymous memory while the block runs."""

    def __enter__(self) -> "Peak":
        self.megabytes, self._ended = anonymous(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.megabytes = max(self.megabytes, anonymous())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.megabytes = max(self.megabytes, anonymous())


def watched(job: text.Job) -> tuple[float, float]:
    """CPU seconds of a shard and the peak of anonymous memory in MB; dictionaries and libraries are loaded before."""
    import pyarrow.parquet  # noqa: F401

    text._tokeniser(job.settings).cut("\U00020000")  # a character for which jieba's is needed too
    with Peak() as peak:
        started = time.process_time()
        text.shard(job)
        taken = time.process_time() - started
    return taken, peak.megabytes


def featurized(folder: Path) -> tuple[float, float, int]:
    """CPU seconds of featurize, the process's peak in megabytes, and the words of the vocabulary."""
    (folder / "features").mkdir()
    with Peak() as peak:
        started = time.process_time()
        found = features.featurize(folder, folder / "features", features.Config())
        return time.process_time() - started, peak.megabytes, found["vocabulary"]


def scaled(reviews: Sequence[str], megabytes: float, folder: Path) -> dict[str, float]:
    """One row: prepare in one worker, then featurize in another process."""
    settings = text.settings(text.Config(), Path(), np.zeros(0), Path(), {}, folder)
    made = itertools.chain.from_iterable(synthetic(reviews, megabytes))
    (folder / "train").mkdir()
    stems: list[Path] = []
    bytes_read = 0

    def jobs() -> Iterator[text.Job]:
        nonlocal bytes_read
        for stem, rows in planned(1 << 40, folder / "train"):
            lines = pa.array(list(itertools.islice(made, rows.stop - rows.start)), pa.string())
            if not len(lines):
                return
            bytes_read += sum(buffer.size for buffer in lines.buffers()[2:])
            stems.append(stem)
            yield text.Job(lines, (None,) * len(lines), stem, settings)

    with Peak() as parent:
        results = list(workers.imap(watched, jobs(), workers=1))
    artifacts.write_json(folder / "train" / "index.json", {"shards": [stem.name for stem in stems]})
    ((taken, peak, vocabulary),) = workers.imap(featurized, [folder], workers=1)
    size = bytes_read / 1e6
    return {
        "megabytes": round(size, 1),
        "texts": sum(len(texts.Cut.read(stem).offsets) - 1 for stem in stems),
        "prepare_cpu_s_per_mb": round(sum(taken for taken, _ in results) / size, 4),
        "worker_mb": round(max(peak for _, peak in results), 1),
        "parent_mb": round(parent.megabytes, 1),
        "featurize_cpu_s_per_mb": round(taken / size, 4),
        "featurize_mb": round(peak, 1),
        "vocabulary": vocabulary,
    }


def scale(reviews: Sequence[str], sizes: Sequence[float]) -> None:
    rows = []
    for megabytes in sizes:
        with tempfile.TemporaryDirectory(dir=artifacts.STATE) as folder:
            pid = os.fork()  # a process of its own, so that the parent's memory starts anew
            if not pid:
                artifacts.write_json(Path(folder) / "row.json", scaled(reviews, megabytes, Path(folder)))
                os._exit(0)
            os.waitpid(pid, 0)
            rows.append(artifacts.read_json(Path(folder) / "row.json"))
        print(rows[-1], flush=True)
    with (DOCS / "scale-text.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    draw(rows, DOCS / "scale-text.svg")


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "danlu"
    from matplotlib import pyplot

    figure, (cost, memory) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    x = [row["megabytes"] for row in rows]
    cost.plot(x, [1000 * row["prepare_cpu_s_per_mb"] for row in rows], "o-", label="prepare")
    cost.plot(x, [1000 * row["featurize_cpu_s_per_mb"] for row in rows], "s--", label="featurize")
    cost.set(ylabel="CPU ms a megabyte of text", ylim=(0, None))
    for name, style in (("worker_mb", "o-"), ("parent_mb", "^-"), ("featurize_mb", "s--")):
        memory.plot(x, [row[name] for row in rows], style, label=name.removesuffix("_mb"))
    memory.axhline(300, color="grey", linestyle=":")
    memory.set(ylabel="anonymous memory, MB", ylim=(0, None))
    for axes in (cost, memory):
        axes.set(xlabel="megabytes of text", xscale="log")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few texts, one round")
    parser.add_argument("--scale", type=float, nargs="+", metavar="MB", help="megabytes of texts to prepare")
    parser.add_argument("--raw", type=Path, default=artifacts.folder("raw", "reviews"), help="the reviews' folder")
    options = parser.parse_args()
    manifest = parts.read(options.raw / "manifest", ["text"])["text"].dropna()
    artifacts.STATE.mkdir(exist_ok=True)
    if options.scale:
        scale(manifest.drop_duplicates().tolist(), options.scale)
        return
    lines = (manifest.tolist() * 2)[: 200 if options.quick else None]  # 14.7 MB, as targets have it
    slow, fast = (1, 1) if options.quick else (3, 5)  # rounds
    rows = [
        measure("reviews, raw lines to arrays, against the tutorial loop", with_jieba, 8, lines, slow),
        measure("reviews, raw lines to arrays, against the loop with rjieba", with_rjieba, 1, lines, fast),
    ]
    for row in rows:
        shown = f"{row['ours']:8.3f} {row['peer']:8.3f} {row['unit']} {row['ratio']:6.2f}×  goal {row['goal']}×"
        print(f"{row['name']:64} {shown}")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
