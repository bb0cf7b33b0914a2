"""Turns the accepted examples into shards on three sides of a split that no near duplicate crosses.

N examples, K classes.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import arrivals, artifacts, cache, parts, prepared, shards, sides, stage, strata, targets, workers
from pipeline.artifacts import SPLITS
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.progress import Progress
from pipeline.targets import Target

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)
SECONDS_A_ROW = 5.0
SECONDS_A_SHARD = 60.0
FEW = 500  # examples for which a process is worth its start


@dataclass(frozen=True)
class Sides:
    """Where each accepted row is: the number of its split, int8 [N], -1 where it was dropped as a leak."""

    found: np.ndarray
    leaks: list[sides.Leak]
    dropped: np.ndarray  # the split that each leak was dropped from, [leaks]


def prepare(examples: sides.Examples, edges: np.ndarray) -> Sides:
    """Puts each accepted row on its side and drops the leaks; `edges` [K, 2] are where each class's sides begin."""
    found = sides.of(examples, edges).astype(np.int8)
    leaks = sides.leaks(found, examples.near)
    rows = np.array([leak.dropped for leak in leaks], np.int64)
    dropped = found[rows]
    found[rows] = -1
    return Sides(found, leaks, dropped)


def of_train(target: Target, texts: np.ndarray) -> Target:
    """With the mean and deviation of a value's train examples, whose column `label` is given."""
    if target.kind != "value" or not len(texts):
        return target
    values = np.array([float(text) for text in texts])
    return replace(target, mean=float(values.mean()), std=float(values.std()) or 1.0)


def leak_table(split: Sides, rows: parts.Reader) -> "pd.DataFrame":
    """Columns id, split, near, near_split."""
    import pandas as pd

    near = np.array([leak.near for leak in split.leaks], np.int64)
    dropped = np.array([leak.dropped for leak in split.leaks], np.int64)
    of = dict(zip(dropped.tolist(), split.dropped.tolist(), strict=True))
    near_side = [of.get(row, int(split.found[row])) for row in near.tolist()]
    table = {
        "id": rows.take(dropped)["id"].to_pylist(),
        "split": [SPLITS[number] for number in split.dropped],
        "near": rows.take(near)["id"].to_pylist(),
        "near_split": [SPLITS[number] for number in near_side],
    }
    return pd.DataFrame(table, dtype="str")


class _Writer:
    """Writes one task's shards, taking from the cache what is there."""

    def __init__(self, task: str, module: ModuleType, settings: Any, rows: parts.Reader, out: Path) -> None:
        self._module, self._settings, self._rows, self._out = module, settings, rows, out
        self._contents: dict[tuple[str, str], str] = {}  # what tells the rows of each shard
        self._shelf = cache.Shelf(task, module.key(settings), module.suffixes(settings))

    def write(self, plan: list[shards.Shard], classes: list[str], place: str, title: str) -> int:
        """Writes all shards, and returns how many rows had to be made anew."""
        for split in SPLITS:
            (self._out / split).mkdir()
        progress = Progress(title, sum(len(shard.rows) for shard in plan), "examples")
        made = 0
        asked: list[tuple[shards.Shard, np.ndarray]] = []
        jobs = self._jobs(plan, classes, place, asked, progress)
        limit = SECONDS_A_SHARD + SECONDS_A_ROW * max((len(shard.rows) for shard in plan), default=0)
        results = workers.imap(self._module.shard, jobs, workers=_processes(plan), deadline=limit)
        for number, result in enumerate(results):
            shard, digests = asked[number]
            if isinstance(result, workers.Lost):
                raise DataError(
                    f"{place}: shard {shard.split}/{shard.name} of {len(digests)} examples: {result.reason}; expected "
                    "an end; look at these examples, or at the machine's memory, and run again"
                )
            name = self._shelf.name(digests)
            self._shelf.put(name, digests)
            self._shelf.link(name, self._out / shard.split / shard.name)
            made += int(result)
            progress.add(len(shard.rows))
        for split in SPLITS:
            mine = [shard.name for shard in plan if shard.split == split]
            contents = [self._contents[split, name] for name in mine]
            artifacts.write_json(self._out / split / "index.json", {"shards": mine, "contents": contents})
        self._shelf.tidy()
        return made

    def _jobs(
        self,
        plan: list[shards.Shard],
        classes: list[str],
        place: str,
        asked: list[tuple[shards.Shard, np.ndarray]],
        progress: Progress,
    ) -> Iterator[Any]:
        """What the cache lacks; every shard's table of examples is written on the way."""
        for shard in plan:
            table = self._rows.take(shard.rows)
            _write_table(table, self._out / shard.split / shard.name, classes, place)
            digests = self._module.digests(table)
            name = self._shelf.name(digests)
            self._contents[shard.split, shard.name] = name
            if self._shelf.has(name):
                self._shelf.link(name, self._out / shard.split / shard.name)
                progress.add(len(shard.rows))
                continue
            asked.append((shard, digests))
            yield self._module.job(table, self._settings, self._shelf.building(name), self._shelf.find(digests))


def _processes(plan: list[shards.Shard]) -> int:
    """As many as there are cores, or as DANLU_WORKERS says; none for so few examples that starting one costs more."""
    asked = os.environ.get("DANLU_WORKERS")
    return int(asked) if asked else min(workers.count(), sum(len(shard.rows) for shard in plan) // FEW)


def _write_table(table: "pa.Table", stem: Path, classes: list[str], place: str) -> None:
    import pyarrow.parquet as pq

    kept = table.select(list(prepared.COLUMNS))
    if kept["probabilities"].null_count < len(kept):
        prepared.soft(kept.to_pandas(), classes, place)
    pq.write_table(kept.replace_schema_metadata(None), f"{stem}.parquet", compression="zstd")


def run(task: Task, module: ModuleType, config: Any, out: Path) -> dict[str, Any]:
    """The whole stage into the folder `out`; returns meta.json's content."""
    import pandas as pd

    raw, validated = artifacts.folder("raw", task.name), artifacts.folder("validated", task.name)
    summary = artifacts.read_json(validated / "summary.json")
    classes, target = summary["classes"], targets.recorded(summary)
    record = sides.of_seed(sides.read(task.name), config.seed, config.shares)
    accepted = validated / "accepted"
    texts = parts.read(accepted, ["label"])["label"].tolist() if record and target.kind != "classes" else []
    groups = strata.found(texts, target.kind, classes, record.marks if record else ())
    if record is None or not set(groups.names) <= set(record.begin):
        raise DataError(f"{task.where}.prepare: found no split of this seed for these classes; run stage split first")
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    number = None if target.kind == "classes" else groups.of
    examples = sides.examples(parts.each(accepted, sides.COLUMNS), neighbours, list(groups.names), record, number)
    near = module.near(config, accepted, examples.near, summary["settings"])
    split = prepare(replace(examples, near=near), np.array([record.begin[name] for name in groups.names]))
    rows = parts.Reader(accepted, [*prepared.COLUMNS, *module.COLUMNS])
    settings = module.settings(config, accepted, split.found, raw / "files", summary["settings"], out)
    known, generations = arrivals.read(artifacts.folder("order", task.name))
    places = arrivals.places(known, examples.keys)
    plan = list(shards.plan(split.found, places, generations, module.SMALLEST, module.row_bytes(settings)))
    made = _Writer(task.name, module, settings, rows, out).write(plan, classes, str(validated), f"prepare {task.name}")
    leak_table(split, rows).to_parquet(out / "leaks.parquet", index=False)
    log.info("prepare %s: %s examples made anew, the others taken from .danlu/cache", task.name, f"{made:,}")
    target = of_train(target, np.array(texts, object)[split.found == 0] if texts else np.empty(0))
    names = classes if target.kind == "labels" else list(groups.names)
    having = strata.members(texts, names) if target.kind == "labels" else None
    kept = split.found >= 0
    numbers = sides.table(examples, split.found.astype(np.int64), kept, len(names), having)
    meta = _meta(task.kind, target, names, numbers, np.bincount(split.found[kept], minlength=3), len(split.leaks))
    changed = module.changed(stem for name in SPLITS for stem in prepared.shards(out, name))
    artifacts.write_json(out / "meta.json", {**meta, "changed": changed, "preparation": module.record(settings)})
    for step, count in changed.items():
        if count:
            log.info("prepare %s: cleaning by %s changed %s", task.name, step, _counted(count, "example"))
    return meta


def _meta(
    kind: str, target: Target, names: list[str], numbers: np.ndarray, sizes: np.ndarray, leaks: int
) -> dict[str, Any]:
    """numbers [K, 3]: examples of each class, label or group of values in each split; sizes [3]: of the splits."""
    shares = (numbers / np.maximum(sizes, 1)).round(6).T.tolist()
    return {
        "kind": kind,
        **targets.record(target),
        "counts": dict(zip(SPLITS, sizes.tolist(), strict=True)),
        "leaks": leaks,
        "shares": {name: dict(zip(names, of, strict=True)) for name, of in zip(SPLITS, shares, strict=True)},
        "drift": round(sides.drift(numbers, sizes), 6),
    }


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def main(task: Task) -> None:
    module, config = task.of_kind("prepare", "preparation")
    with artifacts.fresh(artifacts.folder("prepared", task.name)) as out:
        meta = run(task, module, config, out)
    counted = ", ".join(f"{name} {count:,}" for name, count in meta["counts"].items())
    log.info(
        "prepare %s: %s; %s dropped; class shares within %.1f points",
        task.name,
        counted,
        _counted(meta["leaks"], "leak"),
        100 * meta["drift"],
    )
    if meta["drift"] > sides.DRIFT:
        log.warning(
            "prepare %s: a class's share of a split differs by more than %.0f points from its share of all; %s has "
            "the shares",
            task.name,
            100 * sides.DRIFT,
            artifacts.folder("prepared", task.name) / "meta.json",
        )


if __name__ == "__main__":
    stage.run("prepare", main)
