"""Values far from the others, by a robust rule: the distance from the median in median absolute deviations.

Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): 0.6745 · |x - median| / MAD, and where more than half
of the values are equal, |x - median| / (1.2533 · mean absolute deviation). Sizes and lengths are compared by their
logarithms. A value is an outlier only if it lies outside the fences of all rows and those of its own class, so that
a small class that differs is not one; a class of few rows has no fences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.expectations import Rule
from pipeline.wording import nearest

if TYPE_CHECKING:
    import pandas as pd

Action = Literal["flag", "quarantine", "ignore"]
FEW = 30  # rows


@dataclass(frozen=True)
class Measure:
    """A column of numbers; `log` where it is compared by its logarithm."""

    column: str
    log: bool = True


def check(actions: Mapping[str, Action], measures: Sequence[Measure]) -> None:
    """Raises: ValueError for a measure that there is not."""
    known = [measure.column for measure in measures]
    for name in actions:
        if name not in known:
            raise ValueError(f"outliers.{name}: unknown measure{nearest(name, known)}; allowed: {', '.join(known)}")


def fences(values: np.ndarray, measure: Measure, width: float) -> tuple[float, float] | None:
    """The lowest and the highest usual value, or None for values that are all equal.

    width: robust standard deviations from the median.
    """
    scaled = np.log1p(values) if measure.log else values
    middle = np.median(scaled)
    distance = np.abs(scaled - middle)
    spread = np.median(distance) / 0.6745 or distance.mean() * 1.2533
    if not spread:
        return None
    ends = middle + np.array([-width, width]) * spread
    return tuple((np.expm1(ends) if measure.log else ends).tolist())


def found(table: "pd.DataFrame", measure: Measure, width: float) -> tuple[np.ndarray, tuple[float, float] | None]:
    """bool [N], and the fences of all rows; rows without a value are none."""
    values = table[measure.column].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    known = np.flatnonzero(np.isfinite(values))
    far = np.zeros(len(values), bool)
    limits = fences(values[known], measure, width) if len(known) >= FEW else None
    if limits is None:
        return far, None
    far[known] = (values[known] < limits[0]) | (values[known] > limits[1])
    labels = table["label"].to_numpy()
    for label in set(labels[far].tolist()):
        mine = known[labels[known] == label]
        own = fences(values[mine], measure, width) if len(mine) >= FEW else None
        if own is not None:
            far[mine] &= (values[mine] < own[0]) | (values[mine] > own[1])
    return far, limits


def add(
    table: "pd.DataFrame", sound: "pd.Series[bool]", measures: Sequence[Measure], config: Any
) -> tuple["pd.DataFrame", dict[str, dict[str, float]]]:
    """The table with a column `outlier_<measure>` each and `outliers`, their names; and the fences by measure.

    sound: the rows that are compared; the others are no outliers.
    """
    columns: dict[str, np.ndarray] = {}
    limits: dict[str, dict[str, float]] = {}
    for measure in measures:
        far = np.zeros(len(table), bool)
        if config.outliers.get(measure.column, "flag") != "ignore":
            far[sound.to_numpy()], edges = found(table[sound], measure, config.outlier_fence)
            if edges:
                limits[measure.column] = {"low": round(edges[0], 4), "high": round(edges[1], 4)}
        columns[f"outlier_{measure.column}"] = far
    names = [",".join(m.column for m in measures if columns[f"outlier_{m.column}"][row]) for row in range(len(table))]
    return table.assign(**columns, outliers=names), limits


def rules(measures: Sequence[Measure], config: Any) -> list[Rule]:
    """One each for what is flagged or quarantined."""
    made = []
    for measure in measures:
        action = config.outliers.get(measure.column, "flag")
        name = f"outlier_{measure.column}"
        expected = {"column": name, "value_set": [False]}
        if action != "ignore":
            reason = name if action == "quarantine" else ""
            made.append(Rule("ExpectColumnValuesToBeInSet", expected, "info", reason=reason, name=name))
    return made
