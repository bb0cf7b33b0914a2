"""Stage split: where each class's validation and test begin, remembered.

Its output is small and kept when the stage runs again, so that no example moves as data grow.
N examples, K classes.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline import artifacts, parts, sides, stage, strata, targets
from pipeline.artifacts import SPLITS
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.targets import Kind

log = logging.getLogger(__name__)
AIM = 0.02
"""The drift at which edges are good enough when they are found: less than `DRIFT`, so that there is room to grow."""
WORTH = 0.01
"""By how much drift a split made anew has to be better before that is advised."""
ROUNDS = 5
"""How often edges are fitted to the leaks that they cause."""
LEEWAY = 0.3
"""How much larger or smaller than its share a small split may be, as a part of it, for whole examples to fit."""


def split(examples: sides.Examples, classes: list[str], record: sides.Record) -> sides.Record:
    """The record with the classes that are new to it."""
    unknown = (np.nan, np.nan)
    edges = balance(examples, np.array([record.begin.get(label, unknown) for label in classes]))
    found = {label: (float(edges[k, 0]), float(edges[k, 1])) for k, label in enumerate(classes)}
    return replace(record, begin={**record.begin, **found})


@dataclass(frozen=True)
class Table:
    """How many examples of a class are in a split once leaks are dropped, and how many were, int64 [K, 3].

    sizes: examples of each split, int64 [3], which are more or fewer than its labels where there are several of each.
    """

    left: np.ndarray
    found: np.ndarray
    sizes: np.ndarray
    names: list[str]
    kind: Kind = "classes"

    @property
    def drift(self) -> float:
        return sides.drift(self.left, self.sizes)

    @property
    def lack(self) -> str:
        """What the first split that lacks a class has none of, in words; empty where none does."""
        for side, name in enumerate(SPLITS):
            there = self.left[:, side].any() if self.kind == "value" else self.left[:, side].all()
            if there:  # of values a split may lack some
                continue
            names = [self.names[k] for k in np.flatnonzero(self.left[:, side] == 0)]
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
            one = "label" if self.kind == "labels" else "class"
            what = f"no example of {one} {shown}" if self.left[:, side].any() else "no example at all"
            dropped = int((self.found - self.left)[:, side].sum())
            leaks = f" ({dropped:,} near duplicates of held-out examples were dropped)" if dropped else ""
            return f"the split {name} has {what}{leaks}"
        return ""


def way_out(examples: sides.Examples) -> str:
    """What the user can do about a split that lacks a class."""
    if not examples.free.all():
        return "complete the split that your source gives, or take it out of the source"
    groups = len(np.unique(examples.near.groups[examples.grouped]))
    if groups:
        return (
            f"each of the {groups:,} groups that your source gives is on one side as a whole: add groups, or make them "
            "smaller, or change prepare.shares or prepare.seed, or give your own split"
        )
    return "add examples, or change prepare.shares or prepare.seed, or give your own split"


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


@dataclass(frozen=True)
class Groups:
    """What the shares are kept of: the groups that decide an example's edges, and what is counted of it."""

    kind: Kind
    classes: list[str]
    texts: list[str]  # each example's column `label`; of classes not needed

    def of(self, record: sides.Record) -> strata.Strata:
        if self.kind == "value" and strata.ALL in record.begin and not record.marks:  # they were few, and stay one
            return strata.Strata(self.kind, (strata.ALL,))
        return strata.found(self.texts, self.kind, self.classes, record.marks)

    def table(self, examples: sides.Examples, record: sides.Record) -> Table:
        groups = self.of(record)
        names = self.classes if self.kind == "labels" else list(groups.names)
        having = strata.members(self.texts, names) if self.kind == "labels" else None
        found = sides.of(examples, np.array([record.begin[name] for name in groups.names]))
        left = sides.kept(found, examples.near)
        staying, all_of = (
            sides.table(examples, found, rows, len(names), having) for rows in (left, np.ones_like(left))
        )
        return Table(staying, all_of, np.bincount(found[left], minlength=len(SPLITS)), names, self.kind)


def grouped(kind: Kind, count: int, fresh: int) -> str:
    """How many groups the split keeps the shares of, in words, and how many of them it has not seen before."""
    one, many = {
        "classes": ("class", "classes"),
        "labels": ("group of labels", "groups of labels"),
        "value": ("group of values", "groups of values"),
    }[kind]
    return f"{count:,} {one if count == 1 else many}, {fresh:,} new"


def main(task: Task) -> None:
    import pandas as pd

    module, config = task.of_kind("prepare", "preparation")
    validated = artifacts.folder("validated", task.name)
    summary = artifacts.read_json(validated / "summary.json")
    accepted = validated / "accepted"
    records = sides.read(task.name)
    before = sides.of_seed(records, config.seed, config.shares)
    given, kind = parts.read(accepted, ["split"])["split"], targets.recorded(summary).kind
    texts = [] if kind == "classes" else parts.read(accepted, ["label"])["label"].tolist()
    groups = Groups(kind, summary["classes"], texts)
    forgotten = sides.Record(config.seed, tuple(config.shares), sides.lacking(given))
    known = before or forgotten
    if given.notna().all() and known.lacking != forgotten.lacking:  # the user's word of today, and edges for its lack
        known = forgotten
    neighbours = pd.read_parquet(validated / "neighbours.parquet")

    def split_by(record: sides.Record) -> tuple[sides.Examples, sides.Record]:
        """The examples, and the record with the marks of their groups."""
        found = groups.of(record)
        number = None if found.kind == "classes" else found.of
        each = parts.each(accepted, sides.COLUMNS)
        examples = sides.examples(each, neighbours, list(found.names), record, number)
        return examples, replace(record, marks=found.marks)

    examples, marked = split_by(known)
    examples = replace(examples, near=module.near(config, accepted, examples.near, summary["settings"]))
    names = list(groups.of(marked).names)
    after = split(examples, names, marked)
    found = anew = groups.table(examples, after)
    if set(known.begin) & set(names) and (found.lack or found.drift > sides.DRIFT):
        other, unmarked = split_by(forgotten)
        unbound = replace(other, near=examples.near)
        anew = groups.table(unbound, split(unbound, list(groups.of(unmarked).names), unmarked))
    if lack := found.lack:  # nothing is remembered of a split that cannot be used
        way = (
            way_out(examples) if anew.lack else f"delete {sides.path(task.name)}, which remembers a split of other data"
        )
        raise DataError(f"{validated}: {lack}; expected some of each class; {way}")
    if anew.drift < found.drift - WORTH:
        log.warning(
            "split %s: a class's share of a split is %.1f points from its share of all; without %s, which remembers a "
            "split of other data, it would be %.1f, but examples would change sides",
            task.name,
            100 * found.drift,
            sides.path(task.name),
            100 * anew.drift,
        )
    kept = [after if record is before else record for record in records]
    sides.write(task.name, kept if before else [*kept, after])
    fresh = len(set(names) - set(known.begin))
    log.info("split %s: %s; %s examples", task.name, grouped(kind, len(names), fresh), f"{len(examples.keys):,}")


if __name__ == "__main__":
    stage.run("split", main)
