"""A table of texts with a column of labels, of several or of a number: CSV, TSV, JSON Lines or Parquet.

A folder with tables named train, val and test is the user's own split.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Example, SplitName
from pipeline.sources import _columns, _encodings, _labels, _records, _tree, _user
from pipeline.sources._encodings import Declared
from pipeline.sources._records import Header, Record

KIND = "text"


@dataclass(frozen=True)
class Config(_labels.LabelledTable):
    text_column: str = setting("text")
    label_column: str = setting("label")
    group_column: str | None = setting(None)  # rows of one group stay on one side of the split
    split_column: str | None = setting(None)  # train, val or test, where the user has split already
    format: Literal["by_suffix", "csv", "tsv", "jsonl", "parquet"] = setting("by_suffix")
    header: Header = setting("first_line")  # none: the columns are named 1, 2, …
    encoding: Declared = setting("auto")  # auto: by mark, strict utf-8 or gb18030 of each whole file

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text_column in self.labelling(self.label_column).values():
            raise ValueError(f"label_column: found {self.text_column!r}, which is the text column; expected another")


def _tables(config: Config, leave_out: Collection[str]) -> Iterator[tuple[str, Path, SplitName | None]]:
    """Each table: name, path and the split that its name says."""
    root = Path(config.path)
    if not root.is_dir():
        yield _tree.printable(root.name), root, None
        return
    for found in _tree.walk(root, leave_out):
        split = _tree.SPLIT_FOLDERS.get(Path(found.name).stem.lower())
        known = config.format != "by_suffix" or found.path.suffix.lower() in _records.SUFFIXES
        if len(found.parts) > 1 or not split or found.refused or not known:
            raise DataError(
                f"{root}: found {found.name}; expected tables named train, val and test alone; move it away"
            )
        yield found.name, found.path, split


def files(config: Config, leave_out: Collection[str] = ()) -> Iterator[tuple[str, Path]]:
    """The tables: name within the source, path."""
    for name, path, _ in _tables(config, leave_out):
        yield name, path


def records(config: Config, path: Path) -> Iterator[Record]:
    """Every record of one table, whatever its columns."""
    _records.require_file(path)
    form = _records.format_of(path) if config.format == "by_suffix" else config.format
    return _records.read(path, form, config.header, _encodings.of(path, config.encoding))


def read(config: Config, leave_out: Collection[str] = ()) -> Iterator[Example]:
    """Every row of every table but those to leave out.

    Raises: DataError when a table lacks one of the named columns, or is in another, wide encoding.
    """
    for name, path, split in _tables(config, leave_out):
        checked = False
        for record in records(config, path):
            if not checked and not record.refused:
                _columns.require(_named_columns(config), path, record)
                checked = True
            yield _example(config, name, record, split)


def _named_columns(config: Config) -> dict[str, str]:
    columns = {
        "text_column": config.text_column,
        **config.labelling(config.label_column),
        "group_column": config.group_column,
        "split_column": config.split_column,
    }
    return {setting: column for setting, column in columns.items() if column}


def _example(config: Config, name: str, record: Record, split: SplitName | None) -> Example:
    place = f"{name}:{record.line}"
    if record.refused:
        return Example(place, path=name, split=split, refused=record.refused)
    text = record.cells.get(config.text_column)
    label, unlabelled = _labels.label(config, config.label_column, record)
    group = _columns.word(record, config.group_column)
    refused = None
    if _columns.word(record, config.split_column):
        split, refused = _columns.split(record, config.split_column)
    if text is None or unlabelled:
        refused = f"no text (column {config.text_column!r})" if text is None else unlabelled
    if refused or text is None:
        return Example(place, label=label, group=group, split=split, path=name, refused=refused)
    ok = text.ok and all(cell.ok for cell in _columns.cells(record, _named_columns(config)))
    return Example(place, text.raw, label, group, split, path=name, text=text.text, encoding_ok=ok)


def describe(config: Config) -> Mapping[str, str]:
    described = _user.describe(config)
    if not Path(config.path).exists():
        return described
    return {**described, "encoding": _encodings.used((path for _, path in files(config)), config.encoding)}
