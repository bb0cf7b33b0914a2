"""A table as a folder of Parquet files whose borders follow its rows: new rows at its end rewrite its end alone.

A border is put after a row by the hash of that row's key, so that one inserted row moves no border but those around it.
Parts grow with the table: each holds at most about a 64th of the rows before it, and a table of ten million rows has
some hundreds.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SMALLEST = 64  # rows of a part, on average
LARGEST = 1 << 16
PARTS = 64  # a part is at most about this fraction of the table
HELD = 4  # parts that a Reader keeps in memory


def size(position: int, smallest: int = SMALLEST, largest: int = LARGEST) -> int:
    """Rows of a part or shard that begins after `position` rows: a power of two times `smallest`."""
    steps = max(0, position // (smallest * PARTS)).bit_length()
    return max(1, min(smallest << min(steps, 40), largest))


def write(rows: Iterable[Mapping[str, Any]], schema: "pa.Schema", folder: Path, key: str = "id") -> int:
    """Writes the rows as folder/00000.parquet and so on, and returns how many there were.

    The folder is made; `key` is the column that borders are found by.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    count = number = 0
    waiting: list[Mapping[str, Any]] = []

    def flush() -> None:
        nonlocal number, waiting
        pq.write_table(
            pa.Table.from_pylist(waiting, schema=schema), folder / f"{number:05}.parquet", compression="zstd"
        )
        number, waiting = number + 1, []

    for row in rows:
        waiting.append(row)
        count += 1
        if _ends(str(row[key]), len(waiting), size(count - len(waiting))):
            flush()
    if waiting or not number:
        flush()
    return count


def _ends(key: str, length: int, mean: int) -> bool:
    if length >= 4 * mean:
        return True
    digest = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return length >= mean // 4 and digest % mean == 0


def write_frame(frame: "pd.DataFrame", folder: Path, key: str = "id") -> None:
    """A whole DataFrame, its index left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    start = number = 0
    for end, text in enumerate(frame[key].astype(str), 1):
        if _ends(text, end - start, size(start)) or end == len(frame):
            piece = pa.Table.from_pandas(frame.iloc[start:end], preserve_index=False)
            pq.write_table(piece, _path(folder, number), compression="zstd")
            start, number = end, number + 1
    if not len(frame):
        piece = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(piece, _path(folder, 0), compression="zstd")


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.parquet"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def read(folder: Path, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """The whole table. Columns without a value in a part keep the type that they have elsewhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=list(columns) if columns else None) for path in files(folder)]
    whole = pa.concat_tables(tables, promote_options="permissive")
    frame: pd.DataFrame = whole.to_pandas()
    return frame


def each(folder: Path, columns: Sequence[str] | None = None) -> Iterator["pd.DataFrame"]:
    """Part by part, so that memory does not grow with the table."""
    import pyarrow.parquet as pq

    for path in files(folder):
        yield pq.read_table(path, columns=list(columns) if columns else None).to_pandas()


class Reader:
    """Rows by number, a few parts in memory at a time: made for numbers that mostly rise."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        self._columns = list(columns)
        self._paths = files(folder)
        counts = [pq.read_metadata(path).num_rows for path in self._paths]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._held: OrderedDict[int, pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: np.ndarray) -> "pa.Table":
        """The rows [N] in the order asked for."""
        import pyarrow as pa

        order = np.argsort(rows, kind="stable")  # so that each part is read once, however the rows lie
        rising = rows[order]
        of = np.searchsorted(self._starts, rising, side="right") - 1
        borders = np.flatnonzero(np.diff(of)) + 1
        pieces = [
            self._part(int(of[start])).take(rising[start:end] - self._starts[of[start]])
            for start, end in zip([0, *borders], [*borders, len(rows)], strict=True)
            if end > start
        ]
        if not pieces:
            return self._part(0).slice(0, 0)
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.concat_tables(pieces).take(back)

    def _part(self, number: int) -> "pa.Table":
        import pyarrow.parquet as pq

        if number not in self._held:
            self._held[number] = pq.read_table(self._paths[number], columns=self._columns)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]
