"""The columns of a table that a source's settings name."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import DataError
from pipeline.examples import SplitName
from pipeline.sources import _tree
from pipeline.sources._records import Cell, Record
from pipeline.wording import nearest


def require(named: Mapping[str, str], path: Path, record: Record) -> None:
    """Raises: DataError when the table lacks a column; `named` is setting → column."""
    for key, column in named.items():
        # An object of JSON Lines may lack what the others have.
        if column not in record.cells and not record.varies:
            known = ", ".join(record.cells)
            if "\ufffd" in known:
                raise DataError(
                    f"{path}: found no column {column!r}, and names of columns with bytes that the encoding lacks "
                    f"({known}); expected the encoding that the file is in; correct source.encoding, or leave it out"
                )
            raise DataError(
                f"{path}: found no column {column!r}{nearest(column, record.cells)}; set {key}; one of {known}"
            )


def word(record: Record, column: str | None) -> str | None:
    """The cell's text without blanks around it; None where there is no such cell or nothing in it."""
    cell = record.cells.get(column) if column else None
    return (cell.text.strip() or None) if cell else None


def split(record: Record, column: str | None) -> tuple[SplitName | None, str | None]:
    """The user's split of a row, and why the row is refused, if it is."""
    named = word(record, column)
    if not named:
        return None, None
    found = _tree.SPLIT_FOLDERS.get(named.lower())
    return found, None if found else f"split {named!r}, which is none of {', '.join(_tree.SPLIT_FOLDERS)}"


def cells(record: Record, named: Mapping[str, str]) -> Iterator[Cell]:
    for column in named.values():
        if cell := record.cells.get(column):
            yield cell
