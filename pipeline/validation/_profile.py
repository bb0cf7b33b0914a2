"""What a version of the data looked like, remembered in data/profiles/<task>.json, and how far the next one is from it.

The file is tracked by git, like data/splits, so that a fresh clone knows the version before, too. Distances are
population stability indices: the sum of (p - q) · ln(p / q) over bins, less what chance alone gives at these sizes.
Usual readings: below 0.1 alike, above 0.25 another distribution.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, strata
from pipeline.errors import DataError
from pipeline.targets import Kind
from pipeline.validation._outliers import Measure

if TYPE_CHECKING:
    import pandas as pd

TIED = 0.05  # a value that so many rows share is a bin of its own
Profile = dict[str, Any]


def path(task: str) -> Path:
    return artifacts.DATA / "profiles" / f"{task}.json"


def read(task: str) -> dict[str, Profile | None]:
    """The last version, `current`, and the one before it, `previous`; None for one that there is not.

    Raises: DataError for a file that is damaged.
    """
    file = path(task)
    if not file.is_file():
        return {"current": None, "previous": None}
    try:
        found = artifacts.read_json(file)
        return {name: found[name] and _checked(found[name]) for name in ("current", "previous")}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(
            f"{file}: no profile of the data; expected what earlier runs wrote; bring it back with `git checkout HEAD "
            f"{file}`, or delete it: the next version then has none to be compared with"
        ) from None


def _checked(found: Any) -> Profile:
    for column in found["columns"].values():
        if len(column["counts"]) != len(column["edges"]) + 1 + len(column["ties"]):
            raise ValueError
    marks = {"fingerprint": str(found["fingerprint"])} | ({"labels": str(found["labels"])} if "labels" in found else {})
    return {**marks, **{name: dict(found[name]) for name in ("classes", "columns")}}


def fingerprint(manifest: "pd.DataFrame") -> str:
    """Equal for equal versions of the data: the same rows with the same contents and labels, in any order."""
    rows = zip(manifest["id"], manifest["label"], manifest["sha256"], strict=True)
    words = sorted(f"{name}\0{label}\0{digest}" for name, label, digest in rows)
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def of(
    accepted: "pd.DataFrame", measures: Sequence[Measure], mark: str, labels: str = "", kind: Kind = "classes"
) -> Profile:
    """The profile of a version whose fingerprint is `mark`; `labels` is the mark of the settings that made them."""
    columns = {}
    for measure in measures:
        values = _values(accepted, measure.column)
        if len(values):
            column = _bins(values)
            columns[measure.column] = column | {"counts": _counts(values, column)}
    return {
        "fingerprint": mark,
        **({"labels": labels} if labels else {}),
        "classes": {} if kind == "value" else strata.counted(accepted["label"], kind),
        "columns": columns,
    }


def relabelled(before: Profile | None, labels: str) -> bool:
    """Whether other settings made the labels of the version before, so that its classes are not to be compared."""
    return before is not None and before.get("labels", "") != labels


def drift(
    accepted: "pd.DataFrame", before: Profile | None, labels: str = "", kind: Kind = "classes"
) -> dict[str, float]:
    """How far the rows are from an earlier profile, by column and for the classes' shares; empty without one.

    The classes are left out where they were `relabelled`: the data may be the same.
    """
    if before is None:
        return {}
    found = {}
    if kind != "value" and not relabelled(before, labels):
        now = strata.counted(accepted["label"], kind)
        names = sorted({*before["classes"], *now})
        counts = [before["classes"].get(name, 0) for name in names]
        found["classes"] = index(counts, [now.get(name, 0) for name in names])
    for name, column in before["columns"].items():
        if name in accepted.columns:
            found[name] = index(column["counts"], _counts(_values(accepted, name), column))
    return found


def following(known: Mapping[str, Profile | None], now: Profile) -> dict[str, Profile | None]:
    """What to remember: a new version makes the current one the previous; the same data again change nothing."""
    current = known["current"]
    same = current is not None and current["fingerprint"] == now["fingerprint"]
    return {"current": now, "previous": known["previous"] if same else current}


def index(before: Sequence[int], now: Sequence[int]) -> float:
    """The population stability index of counts in the same bins, at least 0."""
    p, q = (np.asarray(counts, np.float64) + 0.5 for counts in (before, now))
    chance = (len(p) - 1) * (1 / p.sum() + 1 / q.sum())
    p, q = p / p.sum(), q / q.sum()
    return round(max(0.0, float(((p - q) * np.log(p / q)).sum()) - chance), 4)


def _values(table: "pd.DataFrame", column: str) -> np.ndarray:
    values = table[column].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    return values[np.isfinite(values)]


def _bins(values: np.ndarray) -> dict[str, list[float]]:
    """`ties`: values that many rows share, a bin each; `edges` between ten bins of the others."""
    distinct, counts = np.unique(values, return_counts=True)
    ties = distinct[counts >= TIED * len(values)]
    others = values[~np.isin(values, ties)]
    edges = np.unique(np.quantile(others, np.linspace(0.1, 0.9, 9))) if len(others) else np.empty(0)
    return {"edges": edges.round(6).tolist(), "ties": ties.tolist()}


def _counts(values: np.ndarray, column: Mapping[str, Sequence[float]]) -> list[int]:
    """Of the ties first, then of the bins between the edges."""
    ties = [int((values == tie).sum()) for tie in column["ties"]]
    others = values[~np.isin(values, column["ties"])]
    bins = np.bincount(np.searchsorted(column["edges"], others, side="right"), minlength=len(column["edges"]) + 1)
    return ties + bins.tolist()
