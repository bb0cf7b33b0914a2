"""Rows that are to be looked at together: clusters of near duplicates, contents under several labels, outliers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from pipeline.near import pairs
from pipeline.validation._outliers import Measure

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 12  # groups on a page
MEMBERS = 8  # of a group


@dataclass(frozen=True)
class Row:
    id: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Group:
    """The first of the rows that belong together; `size` is how many there are."""

    title: str
    size: int
    rows: list[Row] = field(default_factory=list)


def near(accepted: "pd.DataFrame", neighbours: "pd.DataFrame") -> Iterator[Group]:
    """Clusters, those with several labels first, then the largest."""
    place = {name: number for number, name in enumerate(accepted["id"])}
    links = np.array([[place[a], place[b]] for a, b in zip(neighbours["a"], neighbours["b"], strict=True)], np.int64)
    ids, labels = accepted["id"].to_numpy(object), accepted["label"].to_numpy(object)
    found = list(pairs.clusters(len(accepted), links.reshape(-1, 2)))
    for members in sorted(found, key=lambda rows: (len(set(labels[rows])) == 1, -len(rows))):
        several = len(set(labels[members]))
        title = f"{len(members)} alike" + (f" under {several} labels" if several > 1 else "")
        yield Group(title, len(members), _mixed([Row(ids[row], labels[row]) for row in members.tolist()]))


def _mixed(rows: Sequence[Row]) -> list[Row]:
    """The first of every label, then the second, so that the rows that are shown have all labels."""
    seen: Counter[str] = Counter()
    places = []
    for row in rows:
        places.append(seen[row.label])
        seen[row.label] += 1
    return [rows[number] for number in sorted(range(len(rows)), key=places.__getitem__)]


def conflicts(quarantine: "pd.DataFrame") -> Iterator[Group]:
    """Equal contents with different labels."""
    rows = quarantine[quarantine["reason"] == "conflicting_labels"]
    for _, members in rows.groupby("same", sort=False):
        found = [Row(name, label) for name, label in zip(members["id"], members["label"], strict=True)]
        yield Group(f"{len(found)} equal", len(found), _mixed(found))


def outliers(accepted: "pd.DataFrame", quarantine: "pd.DataFrame", measures: Sequence[Measure]) -> Iterator[Group]:
    """By measure: those in quarantine, then the flagged ones, the farthest from the median first."""
    flags = accepted["outliers"].fillna("").str.split(",")
    for measure in measures:
        mine = accepted[[measure.column in names for names in flags]]
        values = mine[measure.column].astype("float64")
        away = (values - accepted[measure.column].astype("float64").median()).abs()
        mine = mine.loc[away.sort_values(ascending=False, kind="stable").index]
        out = quarantine[quarantine["reason"] == f"outlier_{measure.column}"]
        rows = [
            Row(name, label, f"in quarantine: {detail}")
            for name, label, detail in zip(out["id"], out["label"], out["detail"], strict=True)
        ]
        for name, label, value in zip(mine["id"], mine["label"], mine[measure.column], strict=True):
            rows.append(Row(name, label, f"{measure.column} {value:.4g}"))
        if rows:
            yield Group(f"{measure.column}: {len(rows)}", len(rows), rows)


def classes(accepted: "pd.DataFrame", order: Sequence[str]) -> Iterator[Group]:
    """A few of each class, chosen by a hash, so that the choice is the same in every run."""
    for label in order:
        names = accepted.loc[accepted["label"] == label, "id"].tolist()
        chosen = sorted(names, key=lambda name: blake2b(name.encode("utf-8", "surrogatepass")).digest())[:MEMBERS]
        if names:
            yield Group(f"{label}: {len(names)}", len(names), [Row(name, label) for name in chosen])
