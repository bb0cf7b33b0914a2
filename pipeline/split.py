"""Stage split: where each class's validation and test begin, remembered.

Its output is small and kept when the stage runs again, so that no example moves as data grow.
N examples, K classes.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline import artifacts, parts, sides, stage
from pipeline.artifacts import SPLITS
from pipeline.config import Task
from pipeline.errors import DataError

log = logging.getLogger(__name__)
AIM = 0.02
"""The drift at which edges are good enough when they are found: less than `DRIFT`, so that there is room to grow."""
ROUNDS = 5
"""How often edges are fitted to the leaks that they cause."""
LEEWAY = 0.3
"""How much larger or smaller than its share a small split may be, as a part of it, for whole examples to fit."""


def split(examples: sides.Examples, classes: list[str], record: sides.Record, place: str) -> sides.Record:
    """The record with the classes that are new to it. Raises: DataError for a split that lacks a class."""
    unknown = (np.nan, np.nan)
    edges = balance(examples, np.array([record.begin.get(label, unknown) for label in classes]))
    _require_classes(examples, edges, classes, place)
    found = {label: (float(edges[k, 0]), float(edges[k, 1])) for k, label in enumerate(classes)}
    return replace(record, begin={**record.begin, **found})


def _require_classes(examples: sides.Examples, edges: np.ndarray, classes: list[str], place: str) -> None:
    """Nothing is remembered of a split that cannot be used."""
    found = sides.of(examples, edges)
    left = sides.kept(found, examples.near)
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
        raise DataError(f"{place}: the split {name} has {what}{leaks}; expected some of each class; {way}")


def balance(examples: sides.Examples, known: np.ndarray) -> np.ndarray:
    """Edges [K, 2] for all classes: the known ones, and new ones for the classes whose row is not a number.

    New edges stay near the shares while every class is in every split and, after leaks are dropped, the drift is
    `AIM` at most: the less they are fitted to the first examples, the better they suit later ones.
    """
    new = np.isnan(known[:, 0])
    start = np.where(new[:, None], examples.begin, known)

    def drifts(edges: np.ndarray) -> float:
        found = sides.of(examples, edges)
        judged = examples.free & sides.kept(found, examples.near)
        return sides.drift(sides.counts(examples.labels[judged], found[judged], len(edges))[:, examples.shares > 0])

    if not new.any() or not examples.free.any() or drifts(start) <= AIM:
        return start
    fitted = min(_fitted(examples, start, np.flatnonzero(new)), key=drifts)
    blends = [*(start + weight * (fitted - start) for weight in (0.25, 0.5, 0.75)), fitted]
    for edges in blends:
        if drifts(edges) <= AIM:
            return edges
    return min(start, *blends, key=drifts)


def _fitted(examples: sides.Examples, edges: np.ndarray, classes: np.ndarray) -> Iterator[np.ndarray]:
    """Edges that give each of the classes its shares of what is left of it without the leaks of the edges before."""
    mine = np.flatnonzero(examples.free & ~examples.grouped)
    mine = mine[np.lexsort((examples.places[mine], examples.labels[mine]))]
    ends = np.searchsorted(examples.labels[mine], [classes, classes + 1]).T
    places = {label: examples.places[mine[first:last]] for label, (first, last) in zip(classes, ends, strict=True)}
    for _ in range(ROUNDS):
        found = sides.of(examples, edges)
        left = sides.kept(found, examples.near)[mine]
        table = sides.counts(examples.labels[mine], found[mine], len(edges))
        staying = sides.counts(examples.labels[mine[left]], found[mine[left]], len(edges))
        wanted = table - staying  # what will be lost must be put there in addition
        for side in (1, 2):
            if examples.shares[side]:
                wanted[:, side] += _apportion(staying.sum(axis=1), float(examples.shares[side]))
        edges = edges.copy()
        for label in classes:
            edges[label] = _edges(places[label], wanted[label], examples.begin)
        yield edges


def _apportion(available: np.ndarray, share: float) -> np.ndarray:
    """How many of each class a split gets, int64 [K]: at least one, by largest remainders.

    Of the sizes around `share` of all, the nearest that keeps classes in proportion, else the one that does best.
    """
    total = available.sum()
    exact = available / max(total, 1)
    sizes = np.unique(np.linspace((1 - LEEWAY) * share * total, (1 + LEEWAY) * share * total, 61).round())
    best = (np.inf, np.zeros(len(available), np.int64))
    for size in sorted(sizes, key=lambda size: abs(size - share * total)):
        whole = np.floor(size * exact).astype(np.int64)
        most = np.argsort(whole - size * exact, kind="stable")[: int(size) - whole.sum()]
        whole[most] += 1
        whole = np.maximum(whole, 1)
        away = np.abs(whole / whole.sum() - exact).max()
        if away < best[0]:
            best = (away, whole)
        if away <= AIM / 2:
            break
    return best[1]


def _edges(places: np.ndarray, wanted: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """The edges nearest to `begin` [2] that give a class's sorted places the wanted counts of validation and test."""
    count = len(places)
    test = min(int(wanted[2]), count - 1)
    validation = min(int(wanted[1]), count - 1 - test)
    if test < 0 or validation < 0:
        return begin
    around = np.concatenate([[0.0], places, [1.0]])
    starts = np.array([count - test - validation, count - test])
    return np.clip(begin, np.nextafter(around[starts], 1), around[starts + 1])


def main(task: Task) -> None:
    import pandas as pd

    module, config = task.of_kind("prepare", "preparation")
    validated = artifacts.folder("validated", task.name)
    summary = artifacts.read_json(validated / "summary.json")
    classes = summary["classes"]
    accepted = validated / "accepted"
    records = sides.read(task.name)
    before = sides.of_seed(records, config.seed, config.shares)
    given = parts.read(accepted, ["split"])["split"]
    lacking = sides.lacking(given)
    known = before or sides.Record(config.seed, tuple(config.shares), lacking)
    if given.notna().all() and known.lacking != lacking:  # the user's word of today, and edges for what it lacks alone
        known = sides.Record(config.seed, tuple(config.shares), lacking)
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    examples = sides.examples(parts.each(accepted, sides.COLUMNS), neighbours, classes, known)
    near = module.near(config, accepted, examples.near, summary["settings"])
    after = split(replace(examples, near=near), classes, known, str(validated))
    kept = [after if record is before else record for record in records]
    sides.write(task.name, kept if before else [*kept, after])
    fresh = len(set(classes) - set(known.begin))
    log.info(
        "split %s: %d classes, %d of them new; %s examples", task.name, len(classes), fresh, f"{len(examples.keys):,}"
    )


if __name__ == "__main__":
    stage.run("split", main)
