"""Rows of a Parquet file, a few at a time, whatever the file's size; texts keep their bytes."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.sources import _lines
from pipeline.sources._lines import Encoding
from pipeline.sources._records import Cell, Record

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 256  # read at a time


def read(path: Path, encoding: Encoding) -> Iterator[Record]:
    """Every row, numbered from 1. Text is UTF-8 as Parquet says; only columns of bytes are in `encoding`.

    Raises: DataError when the file, or a part of it, is no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _distinct(path, names)
            for batch in file.iter_batches(ROWS, use_threads=False):
                columns = [list(_cells(column, encoding)) for column in batch.columns]
                for row in zip(*columns, strict=True):
                    number += 1
                    yield Record(number, dict(zip(names, row, strict=True)))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: found no whole Parquet file ({line}) after row {number}; write it again") from None
    if not number:
        raise DataError(f"{path}: found no row; expected one row an example; fill it")


def _distinct(path: Path, names: list[str]) -> None:
    if repeated := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{path}: found the column {min(repeated)!r} twice; expected distinct names; rename one")


def _cells(column: "pa.Array", encoding: Encoding) -> Iterator[Cell | None]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    texts = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if texts or pa.types.is_string_view(column.type):
        # As bytes: a file may hold what is no UTF-8, and Arrow would fail on the whole batch.
        encoding, column = "utf-8", column.cast(pa.large_binary())
    for value in column.to_pylist():
        missing = value is None or (isinstance(value, float) and math.isnan(value))  # as pandas writes what is missing
        yield None if missing else _cell(value, encoding)


def _cell(value: Any, encoding: Encoding) -> Cell:
    if isinstance(value, bytes):
        raw = value.decode(encoding, "replace").encode() if encoding in _lines.WIDE else value
        return Cell(raw, *_lines.decode(raw, encoding))
    text = str(value) if isinstance(value, int | float) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.strip('"') if not isinstance(value, list | dict) else text
    return Cell(text.encode(), text)
