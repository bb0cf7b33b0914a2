"""The groups of examples whose shares a split is to keep, by what the examples are asked for.

Classes are groups themselves. Of several labels an example is in the group of its rarest one, since the common ones
then follow. Values are grouped by bounds between them. Which label is rarer, and the bounds, are found once and
remembered, so that no example changes its group as data grow.
N examples, K groups.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.targets import Kind, parted

MOST = 10  # groups of values
LEAST = 20  # values of one
BINS = 10  # of a histogram
ALL = "every value"
Mark = str | float


@dataclass(frozen=True)
class Strata:
    """marks: the labels from the rarest on, or the bounds between the groups of values; none for classes."""

    kind: Kind
    names: tuple[str, ...]
    marks: tuple[Mark, ...] = ()

    def of(self, texts: Iterable[str]) -> np.ndarray:
        """Each example's group, int32 [N], by the column `label`."""
        column = {name: number for number, name in enumerate(self.names)}
        return np.array([column.get(name, -1) for name in _grouped(texts, self.kind, self.marks)], np.int32)


def found(texts: Sequence[str], kind: Kind, classes: Sequence[str], known: Sequence[Mark]) -> Strata:
    """The groups of these examples, by the marks that are known already, if any; classes: the names there are."""
    if kind == "classes":
        return Strata(kind, tuple(classes))
    marks: tuple[Mark, ...]
    if kind == "labels":
        counts = counted(texts, "labels")
        new = sorted(set(counts) - set(known), key=lambda name: (counts[name], name))
        marks = (*new, *known)  # no example of before has a new label
    else:
        marks = tuple(known) or _bounds(np.array([float(text) for text in texts]))
    there = set(_grouped(texts, kind, marks))
    return Strata(kind, tuple(name for name in _order(kind, marks) if name in there), marks)


def _grouped(texts: Iterable[str], kind: Kind, marks: Sequence[Mark]) -> list[str]:
    """The name of each example's group."""
    if kind == "classes":
        return list(texts)
    if kind == "labels":
        rank = {str(name): number for number, name in enumerate(marks)}
        return [min(parted(text), key=rank.__getitem__, default="") for text in texts]
    names = _names([float(mark) for mark in marks])
    places = np.searchsorted(np.array(marks, np.float64), [float(text) for text in texts], side="left")
    return [names[place] for place in places]


def _names(bounds: Sequence[float]) -> list[str]:
    if not bounds:
        return [ALL]
    between = [f"over {low:.4g} to {high:.4g}" for low, high in itertools.pairwise(bounds)]
    return [f"up to {bounds[0]:.4g}", *between, f"over {bounds[-1]:.4g}"]


def _order(kind: Kind, marks: Sequence[Mark]) -> list[str]:
    """The names of all groups that there may be."""
    return [*map(str, marks), ""] if kind == "labels" else _names([float(mark) for mark in marks])


def _bounds(values: np.ndarray) -> tuple[float, ...]:
    """Between groups of about as many values each, equal ones together: at most MOST, each of LEAST or more."""
    distinct, counts = np.unique(values, return_counts=True)
    wanted = max(LEAST, len(values) / MOST)
    bounds: list[float] = []
    held, left = 0, len(values)
    for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        held, left = held + count, left - count
        if held >= wanted and left >= LEAST:
            bounds.append(value)
            held = 0
    return tuple(bounds)


def members(texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Which of several labels each example has, bool [N, K]."""
    column = {name: number for number, name in enumerate(names)}
    out = np.zeros((len(texts), len(names)), bool)
    for row, text in enumerate(texts):
        out[row, [column[name] for name in parted(text)]] = True
    return out


def counted(texts: Iterable[str], kind: Kind) -> dict[str, int]:
    """How many examples there are of each class or label, or of the values between equally distant bounds."""
    if kind == "value":
        return _histogram(np.array([float(text) for text in texts]))
    names = (name for text in texts for name in (parted(text) if kind == "labels" else [text]))
    return dict(sorted(Counter(names).items()))


def _histogram(values: np.ndarray) -> dict[str, int]:
    if not len(values):
        return {}
    counts, edges = np.histogram(values, BINS)
    digits = max(0, int(np.ceil(-np.log10(max(edges[1] - edges[0], 1e-12)))) + 1)
    names = [f"{low:.{digits}f} to {high:.{digits}f}" for low, high in itertools.pairwise(edges)]
    return dict(zip(names, counts.tolist()))


def coarse(texts: Sequence[str], kind: Kind) -> list[str]:
    """Something to group examples by that are looked at: the labels as they are, of values a fifth of them."""
    if kind != "value":
        return list(texts)
    values = np.array([float(text) for text in texts])
    bounds = np.unique(np.quantile(values, [0.2, 0.4, 0.6, 0.8])) if len(values) else np.empty(0)
    return _grouped(texts, kind, [bound for bound in bounds.tolist() if bound < values.max()])
