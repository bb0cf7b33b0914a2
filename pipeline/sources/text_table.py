"""A table of texts with a column of labels: CSV, TSV or JSON Lines, or a folder with train, val and test tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config import nearest, setting
from pipeline.errors import DataError
from pipeline.examples import Example, SplitName
from pipeline.sources import _encodings, _place, _records, _tree
from pipeline.sources._encodings import Declared
from pipeline.sources._records import Cell, Header, Record

KIND = "text"


@dataclass(frozen=True)
class Config:
    path: str = setting()  # the file, relative to the project's root or absolute
    text_column: str = setting("text")
    label_column: str = setting("label")
    group_column: str | None = setting(None)  # rows of one group stay on one side of the split
    split_column: str | None = setting(None)  # train, val or test, where the user has split already
    format: Literal["by_suffix", "csv", "tsv", "jsonl"] = setting("by_suffix")
    header: Header = setting("first_line")  # none: the columns are named 1, 2, …
    encoding: Declared = setting("auto")  # auto: by mark, strict utf-8 or gb18030 of each whole file

    def __post_init__(self) -> None:
        _place.check_inside(self.path)
        if self.text_column == self.label_column:
            raise ValueError(f"label_column: found {self.label_column!r}, which is the text column; expected another")


def _tables(config: Config) -> Iterator[tuple[str, Path, SplitName | None]]:
    """Each table: name, path and the split that its name says."""
    root = Path(config.path)
    if not root.is_dir():
        yield _tree.printable(root.name), root, None
        return
    for found in _tree.walk(root):
        split = _tree.SPLIT_FOLDERS.get(Path(found.name).stem.lower())
        if len(found.parts) > 1 or not split or found.refused or found.path.suffix.lower() not in _records.SUFFIXES:
            raise DataError(
                f"{root}: found {found.name}; expected tables named train, val and test alone; move it away"
            )
        yield found.name, found.path, split


def files(config: Config) -> Iterator[tuple[str, Path]]:
    """The tables: name within the source, path."""
    for name, path, _ in _tables(config):
        yield name, path


def records(config: Config, path: Path) -> Iterator[Record]:
    """Every record of one table, whatever its columns."""
    if not path.is_file():
        raise DataError(f"{path}: found no regular file; expected a table; correct source.path")
    form = _records.format_of(path) if config.format == "by_suffix" else config.format
    return _records.read(path, form, config.header, _encodings.of(path, config.encoding))


def read(config: Config) -> Iterator[Example]:
    """Every row of every table.

    Raises: DataError when a table lacks one of the named columns, or is in another, wide encoding.
    """
    for name, path, split in _tables(config):
        checked = False
        for record in records(config, path):
            if not checked and not record.refused:
                checked = _require_columns(config, path, record)
            yield _example(config, name, record, split)


def _named_columns(config: Config) -> dict[str, str]:
    columns = {
        "text_column": config.text_column,
        "label_column": config.label_column,
        "group_column": config.group_column,
        "split_column": config.split_column,
    }
    return {setting: column for setting, column in columns.items() if column}


def _require_columns(config: Config, path: Path, record: Record) -> bool:
    for key, column in _named_columns(config).items():
        # An object of JSON Lines may lack what the others have.
        if column not in record.cells and not record.varies:
            known = ", ".join(record.cells)
            raise DataError(
                f"{path}: found no column {column!r}{nearest(column, record.cells)}; set {key}; one of {known}"
            )
    return True


def _example(config: Config, name: str, record: Record, split: SplitName | None) -> Example:
    place = f"{name}:{record.line}"
    if record.refused:
        return Example(place, path=name, split=split, refused=record.refused)
    text, label = record.cells.get(config.text_column), _word(record, config.label_column)
    group = _word(record, config.group_column)
    word = _word(record, config.split_column)
    refused = None
    if word:
        split = _tree.SPLIT_FOLDERS.get(word.lower())
        refused = None if split else f"split {word!r}, which is none of {', '.join(_tree.SPLIT_FOLDERS)}"
    if text is None or not label:
        refused = f"no text (column {config.text_column!r})" if text is None else f"no label ({config.label_column!r})"
    if refused or text is None:
        return Example(place, label=label, group=group, split=split, path=name, refused=refused)
    ok = text.ok and all(cell.ok for cell in _used(config, record))
    return Example(place, text.raw, label, group, split, path=name, text=text.text, encoding_ok=ok)


def _used(config: Config, record: Record) -> Iterator[Cell]:
    for column in _named_columns(config).values():
        if cell := record.cells.get(column):
            yield cell


def _word(record: Record, column: str | None) -> str | None:
    """The cell's text without blanks around it; None where there is no such cell or nothing in it."""
    cell = record.cells.get(column) if column else None
    return (cell.text.strip() or None) if cell else None


def describe(config: Config) -> Mapping[str, str]:
    encoding = _encodings.used((path for _, path in files(config)), config.encoding)
    return {"licence": "the user's own", "origin": config.path, "version": "", "encoding": encoding}
