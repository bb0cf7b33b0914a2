"""Records of CSV, TSV, JSON Lines and Parquet, each with its line's number; a broken one is named, not skipped.

After a quote that never closes reading goes on at the next line, so that one fault costs one line.
"""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import DataError
from pipeline.sources import _lines
from pipeline.sources._lines import Encoding

Format = Literal["csv", "tsv", "jsonl", "parquet"]
Header = Literal["first_line", "none"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
LONGEST_RECORD = 1_000  # lines that one quoted cell may span
LARGEST_CELL = 1 << 28  # bytes
Line = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Cell:
    raw: bytes  # as it stands in the file; of JSON, the text in utf-8
    text: str
    ok: bool = True  # whether all of it could be decoded


@dataclass(frozen=True, slots=True)
class Record:
    line: int
    cells: Mapping[str, Cell | None]  # None where JSON says null
    refused: str | None = None
    varies: bool = False  # whether another record may have other columns, as in JSON Lines


def format_of(path: Path) -> Format:
    """Raises: DataError when the suffix names no table."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: found the suffix {path.suffix or 'none'}; expected {', '.join(SUFFIXES)}; save it so")
    return SUFFIXES[path.suffix.lower()]


def require_file(path: Path) -> None:
    """Raises: DataError for what is no regular file, such as a named pipe, which is never opened."""
    if not path.is_file():
        raise DataError(f"{path}: found no regular file; expected a table; correct source.path")


def read(path: Path, form: Format, header: Header, encoding: Encoding) -> Iterator[Record]:
    """Every record; with header `none` the columns are named 1, 2, …

    Raises: DataError for a file without a record, a faulty header, or another, wide encoding.
    """
    require_file(path)
    if form == "parquet":
        from pipeline.sources import _parquet

        return _parquet.read(path, encoding)
    lines = _lines.read(path, encoding)
    if form == "jsonl":
        return (_object(number, raw, encoding) for number, raw in lines)
    rows: Iterator[Row] = _csv_rows(lines)
    if form == "tsv":
        rows = ((number, _unquoted(raw.split(b"\t")), None) for number, raw in lines)
    return _named(path, _with_header(path, rows), header, encoding)


Row = tuple[int, list[bytes], str | None]


def _with_header(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: found no line; expected a header and one row an example; fill it")
    if first[2]:
        raise DataError(f"{path}:1: found {first[2]}; expected the columns' names; correct the line")
    return chain([first], rows)


def _named(path: Path, rows: Iterator[Row], header: Header, encoding: Encoding) -> Iterator[Record]:
    number, first, refused = next(rows)
    if header == "none":
        names, rows = [str(k) for k in range(1, len(first) + 1)], chain([(number, first, refused)], rows)
    else:
        names = [_lines.decode(cell, encoding)[0].strip() for cell in first]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{path}:1: found the column {min(repeated)!r} twice; expected distinct names; rename one")
    for number, cells, refused in rows:
        if not refused and len(cells) != len(names):
            blank = len(cells) == 1 and not cells[0].strip()
            refused = "blank line" if blank else f"{len(cells)} columns where the first line has {len(names)}"
        if refused:
            yield Record(number, {}, refused)
        else:
            decoded = (Cell(cell, *_lines.decode(cell, encoding)) for cell in cells)
            yield Record(number, dict(zip(names, decoded, strict=True)))


def _unquoted(cells: list[bytes]) -> list[bytes]:
    """Cells of a TSV, which knows no quotes, less those that pandas and spreadsheets put around whole cells."""

    def one(cell: bytes) -> bytes:
        inner = cell[1:-1]
        quoted = len(cell) > 1 and cell[:1] == cell[-1:] == b'"' and b'"' not in inner.replace(b'""', b"")
        return inner.replace(b'""', b'"') if quoted else cell

    return [one(cell) for cell in cells]


def _csv_rows(lines: Iterable[Line]) -> Iterator[Row]:
    # Latin-1 gives every byte a character, so that cells are cut before they are decoded.
    csv.field_size_limit(LARGEST_CELL)
    waiting, rest = deque[Line](), iter(lines)
    width = None
    while line := waiting.popleft() if waiting else next(rest, None):
        number, raw = line
        cells, taken = _cells(raw), 1
        if cells is None and _opens_quote(raw):
            cells, taken = _closed(raw, waiting, rest)
        if taken > 1 and (cells is None or (width is not None and len(cells) != width)):
            cells, taken = None, 1
        for _ in range(taken - 1):
            waiting.popleft()
        if cells is None:
            yield number, [], _fault(raw)
        else:
            width = width or len(cells)
            yield number, cells, None


def _cells(raw: bytes) -> list[bytes] | None:
    try:
        rows = list(csv.reader([raw.decode("latin-1")], strict=True))
    except csv.Error:
        return None
    return _encoded(rows[0]) if rows else [b""]


def _encoded(row: list[str]) -> list[bytes]:
    return [cell.encode("latin-1") for cell in row] or [b""]


def _fault(raw: bytes) -> str:
    if b"\r" in raw and b'"' not in raw:
        return "broken CSV: lines that end in a lone carriage return, as old Macs wrote; save them with \\n or \\r\\n"
    return "broken CSV: a quote that does not close its cell"


def _opens_quote(raw: bytes) -> bool:
    try:
        list(csv.reader([raw.decode("latin-1")], strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _closed(raw: bytes, waiting: deque[Line], rest: Iterator[Line]) -> tuple[list[bytes] | None, int]:
    """The cells of a record that goes on over several lines, and how many; lines looked at stay in `waiting`.

    The reader takes one line after another, so that each is looked at once, however many there are.
    """
    taken = 1

    def record() -> Iterator[bytes]:
        nonlocal taken
        yield raw
        while taken <= LONGEST_RECORD:
            if taken > len(waiting):
                line = next(rest, None)
                if line is None:
                    return
                waiting.append(line)
            taken += 1
            yield waiting[taken - 2][1]

    try:
        cells = next(csv.reader((line.decode("latin-1") + "\n" for line in record()), strict=True))
    except csv.Error:
        return None, 1
    return _encoded(cells), taken


def _object(number: int, raw: bytes, encoding: Encoding) -> Record:
    text, ok = _lines.decode(raw, encoding)
    if not text.strip():
        return Record(number, {}, "blank line")
    try:
        value = json.loads(text, parse_constant=_not_finite, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return Record(number, {}, f"broken JSON: {reason[:100]}")
    if not isinstance(value, dict):
        return Record(number, {}, f"JSON {type(value).__name__} where an object is expected")
    return Record(number, {name: _json_cell(cell, ok) for name, cell in value.items()}, varies=True)


def _not_finite(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the same key twice in one object")
    return found


def _json_cell(value: Any, ok: bool) -> Cell | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    raw = text.encode("utf-8", "surrogatepass")
    whole, paired = _lines.decode(raw, "utf-8")  # JSON can escape half a character, which no file can hold
    return Cell(raw, whole, ok and paired)
