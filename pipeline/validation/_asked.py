"""What the examples are asked for, as fetch noted it: the columns, the rules and the words that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts
from pipeline.errors import ConfigError
from pipeline.expectations import Rule
from pipeline.targets import VALUE, Kind, Target, number, parted
from pipeline.validation._outliers import Measure

if TYPE_CHECKING:
    import pandas as pd

MEASURE = Measure(VALUE, log=False)
NAMES = ("no_number", "out_of_bounds")
NOT_NULL, IN = "ExpectColumnValuesToNotBeNull", "ExpectColumnValuesToBeInSet"
BETWEEN = "ExpectColumnValuesToBeBetween"


@dataclass(frozen=True)
class Asked:
    kind: Kind = "classes"
    labels: tuple[str, ...] = ()  # that there are by the source's word, with or without an example

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Beside those of the content."""
        return (MEASURE,) if self.kind == "value" else ()

    def target(self, names: list[str]) -> Target:
        return Target(self.kind, (VALUE,) if self.kind == "value" else tuple(names))


CLASSES = Asked()


def read(raw: Path) -> Asked:
    """Of data/raw/<task>."""
    path = raw / "source.json"
    found: Mapping[str, Any] = artifacts.read_json(path) if path.is_file() else {}
    return Asked(found.get("target", "classes"), tuple(found.get("labels", ())))


def check(config: Any, kind: Kind, where: str) -> None:
    """Raises: ConfigError for settings of another kind of target."""
    if kind == "value":
        for name in ("classes", "labels"):
            if getattr(config, name):
                raise ConfigError(f"{where}.{name}: found some; expected none, since source.target is value")
    else:
        for name in ("min_value", "max_value"):
            if getattr(config, name) is not None:
                raise ConfigError(f"{where}.{name}: found it with source.target {kind}; expected target: value")


def columns(table: "pd.DataFrame", asked: Asked, config: Any) -> "pd.DataFrame":
    """The table with the columns that `rules` names, and equal values written alike."""
    import pandas as pd

    if asked.kind == "value":
        values = [number(text) if isinstance(text, str) else None for text in table["label"]]
        same = [text if value is None else repr(value) for text, value in zip(table["label"], values, strict=True)]
        label = pd.Series(same, table.index, dtype=table["label"].dtype)
        return table.assign(label=label, value=pd.array([np.nan if v is None else v for v in values], dtype="float64"))
    if asked.kind == "labels" and config.classes:
        known = set(config.classes)
        unknown = [isinstance(text, str) and not set(parted(text)) <= known for text in table["label"]]
        return table.assign(unknown=unknown)
    return table


def usable(table: "pd.DataFrame", asked: Asked, config: Any) -> "pd.Series[bool]":
    """Whether a row's answer is one that there may be."""
    if asked.kind == "value":
        low = -np.inf if config.min_value is None else config.min_value
        return table[VALUE].between(low, np.inf if config.max_value is None else config.max_value)
    there = table["label"].notna()
    if config.classes:
        there &= ~table["unknown"] if asked.kind == "labels" else table["label"].isin(config.classes)
    return there


def rules(asked: Asked, config: Any) -> list[Rule]:
    """In the order in which a row's reason is looked for."""
    if asked.kind == "value":
        limits = {"min_value": config.min_value, "max_value": config.max_value}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        found = [Rule(NOT_NULL, {"column": VALUE}, reason="no_number")]
        return found + ([Rule(BETWEEN, {"column": VALUE, **given}, reason="out_of_bounds")] if given else [])
    if not config.classes:
        return []
    if asked.kind == "labels":
        return [Rule(IN, {"column": "unknown", "value_set": [False]}, reason="unknown_label")]
    return [Rule(IN, {"column": "label", "value_set": list(config.classes)}, reason="unknown_label")]
