"""Stage split: where each class's validation and test begin, found once and then remembered.

Its output is small, tracked by git and kept when the stage runs again, so that no example moves as data grow.
"""

import logging
from dataclasses import replace

import numpy as np

from pipeline import artifacts, sides, stage
from pipeline.artifacts import SPLITS
from pipeline.config import Task
from pipeline.errors import DataError

log = logging.getLogger(__name__)


def split(examples: sides.Examples, classes: list[str], record: sides.Record) -> sides.Record:
    """The record with the classes that are new to it. Raises: DataError for a split that lacks a class."""
    unknown = (np.nan, np.nan)
    edges = sides.balance(examples, np.array([record.begin.get(label, unknown) for label in classes]))
    _require_classes(examples, edges, classes)
    found = {label: (float(edges[k, 0]), float(edges[k, 1])) for k, label in enumerate(classes)}
    return replace(record, begin={**record.begin, **found})


def _require_classes(examples: sides.Examples, edges: np.ndarray, classes: list[str]) -> None:
    """Nothing is remembered of a split that cannot be used."""
    found = sides.of(examples, edges)
    left = sides.kept(found, examples.pairs)
    table = sides.counts(examples.labels[left], found[left], len(classes))
    for side, name in enumerate(SPLITS):
        if table[:, side].all():
            continue
        names = [classes[k] for k in np.flatnonzero(table[:, side] == 0)]
        what = f"no example of class {', '.join(names[:5])}" if table[:, side].any() else "no example at all"
        dropped = int((found[~left] == side).sum())
        leaks = f" ({dropped} near duplicates of held-out examples were dropped)" if dropped else ""
        way = "add examples, or change prepare.shares or prepare.seed, or give your own split"
        if not examples.free.all():
            way = "complete the split that your source gives, or take it out of the source"
        raise DataError(f"the split {name} has {what}{leaks}; expected some of each class; {way}")


def main(task: Task) -> None:
    import pandas as pd

    config = task.of_kind("prepare", "preparation")[1]
    validated = artifacts.folder("validated", task.name)
    classes = artifacts.read_json(validated / "summary.json")["classes"]
    accepted = pd.read_parquet(validated / "accepted.parquet")
    records = sides.read(task.name)
    before = sides.of_seed(records, config.seed, config.shares)
    known = before or sides.Record(config.seed, tuple(config.shares), sides.lacking(accepted["split"]))
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    try:
        after = split(sides.examples(accepted, neighbours, classes, known), classes, known)
    except DataError as error:
        raise DataError(f"{validated}: {error}") from None
    kept = [after if record is before else record for record in records]
    sides.write(task.name, kept if before else [*kept, after])
    log.info("split %s: %d classes, %d of them new", task.name, len(classes), len(set(classes) - set(known.begin)))


if __name__ == "__main__":
    stage.run("split", main)
