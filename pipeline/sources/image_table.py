"""A folder of images with a table of their paths and labels, or numbers: CSV, TSV, JSON Lines or Parquet."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import _columns, _encodings, _labels, _records, _tree
from pipeline.sources._encodings import Declared
from pipeline.sources._records import Header, Record
from pipeline.sources._user import describe as describe

KIND = "image"
UNNAMED = "(not in the table)"
"""Id of the one row that counts the images which the table does not name."""


@dataclass(frozen=True)
class Config(_labels.LabelledTable):
    table: str = setting("labels.csv")  # below path; the images' paths in it start at its own folder
    path_column: str = setting("path")
    label_column: str | None = setting("label")  # null: the likeliest of probability_columns
    group_column: str | None = setting(None)  # rows of one group, such as a patient, stay on one side of the split
    split_column: str | None = setting(None)  # train, val or test, where the user has split already
    probability_columns: tuple[str, ...] = ()  # one a class, named as the class; a row's sum is 1
    format: Literal["by_suffix", "csv", "tsv", "jsonl", "parquet"] = setting("by_suffix")
    header: Header = setting("first_line")  # none: the columns are named 1, 2, …
    encoding: Declared = setting("auto")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_column is None and len(self.probability_columns) < 2:
            raise ValueError("label_column: found null; expected a column, or probability_columns of two classes")
        if self.probability_columns and self.target != "classes":
            raise ValueError(f"probability_columns: found some with target: {self.target}; expected target: classes")
        if self.table.startswith("/") or ".." in self.table.split("/"):
            raise ValueError(f"table: found {self.table!r}; expected a path below source.path")

    @property
    def columns(self) -> dict[str, str]:
        """Setting → column, of those that every row must have."""
        named = {
            "path_column": self.path_column,
            **self.labelling(self.label_column),
            "group_column": self.group_column,
            "split_column": self.split_column,
        }
        named |= {f"probability_columns[{k}]": name for k, name in enumerate(self.probability_columns)}
        return {key: name for key, name in named.items() if name}


def read(config: Config, leave_out: Collection[str] = ()) -> Iterator[Example]:
    """Every row of the table; at the end one refused row that counts the images it does not name.

    Raises: DataError when there is no such table, or it lacks a column.
    """
    table = _table(config)
    form = _records.format_of(table) if config.format == "by_suffix" else config.format
    encoding = _encodings.of(table, config.encoding)
    checked, named = False, set[str]()
    for record in _records.read(table, form, config.header, encoding):
        if not checked and not record.refused:
            _columns.require(config.columns, table, record)
            checked = True
        yield _example(config, table, record, named)
    yield from _unnamed(table, named | set(leave_out))


def _table(config: Config) -> Path:
    root = Path(config.path)
    if not root.is_dir():
        raise DataError(f"{root}: found no folder; expected the images' folder; correct source.path")
    found = _tree.at(root, config.table)
    if found.refused:
        there = [item.name for item in _tree.walk(root) if Path(item.name).suffix.lower() in _records.SUFFIXES]
        shown = f"; one of {', '.join(there[:5])}" if there else ""
        raise DataError(f"{root}: found no table {config.table} ({found.refused}); set source.table{shown}")
    return root / config.table


def _example(config: Config, table: Path, record: Record, named: set[str]) -> Example:
    place = f"{table.name}:{record.line}"
    if record.refused:
        return Example(place, refused=record.refused)
    name = _columns.word(record, config.path_column)
    if not name:
        return Example(place, refused=f"no path (column {config.path_column!r})")
    found = _tree.at(table.parent, name)
    known = f"{found.name}#{place}" if found.name in named else found.name  # equal contents are validation's to judge
    named.add(found.name)
    label, unlabelled = _labels.label(config, config.label_column, record)
    group = _columns.word(record, config.group_column)
    split, refused = _columns.split(record, config.split_column)
    soft, fault = _probabilities(config, record)
    if soft and config.label_column is None:
        label, unlabelled = max(soft, key=soft.__getitem__), None
    refused = found.refused or refused or fault or unlabelled
    if not refused and not all(cell.ok for cell in _columns.cells(record, config.columns)):
        refused = "bytes that the table's encoding lacks"
    if refused:
        return Example(known, label=label, group=group, split=split, refused=refused)
    return Example(known, found.path, label, group, split, soft, path=found.name)


def _probabilities(config: Config, record: Record) -> tuple[dict[str, float] | None, str | None]:
    """Class → probability, and why the row is refused, if it is."""
    if not config.probability_columns:
        return None, None
    soft = {}
    for column in config.probability_columns:
        text = _columns.word(record, column)
        try:
            soft[column] = float(text or "")
        except ValueError:
            return None, f"probability {text!r} (column {column!r})"
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in soft.values()):
        return None, f"a probability outside 0 to 1 ({soft})"
    if abs(sum(soft.values()) - 1) > 1e-3:
        return None, f"probabilities that sum to {sum(soft.values()):g}"
    return soft, None


def _unnamed(table: Path, named: set[str]) -> Iterator[Example]:
    """One row for all of them, since a table may well choose a few of very many."""
    count, first = 0, ""
    for found in _tree.walk(table.parent):
        if _tree.is_image(found.parts[-1]) and found.name not in named:
            count, first = count + 1, first or found.name
    if count:
        yield Example(UNNAMED, refused=f"{count:,} images that {table.name} does not name (first: {first})")
