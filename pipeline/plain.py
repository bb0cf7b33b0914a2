"""Writes a task's prepared data as plain files for other tools: folders of PNG or JPEG, or tables.

Images go to <split>/<class>/<row>.png, or to <split>/<row>.png where they have no one class, named in a table beside
them, so that `image_table`, and of classes `image_folder`, read them again; texts go to one table a split.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline import artifacts, prepared
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError
from pipeline.texts import cleaned

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ImageFormat = Literal["png", "jpeg"]
TableFormat = Literal["csv", "jsonl", "parquet"]
FORMATS: dict[str, tuple[str, ...]] = {"image": get_args(ImageFormat), "text": get_args(TableFormat)}
EXPORTED = Path("data/exported")
TABLE = "labels.csv"
LONGEST = 255  # bytes of a folder's name
QUALITY = 95  # of JPEG, 0..100


@dataclass(frozen=True)
class Exported:
    folder: Path
    format: str
    counts: dict[str, int]  # by split

    def __str__(self) -> str:
        counts = ", ".join(f"{split} {count:,}" for split, count in self.counts.items())
        total = sum(self.counts.values())
        return f"{self.folder}: wrote {total:,} example{'s' * (total != 1)} as {self.format} ({counts})"


def export(
    task: Task, out: Path | None = None, format: str | None = None, splits: Sequence[str] = artifacts.SPLITS
) -> Exported:
    """Writes the task's prepared splits into a new folder, whole or not at all.

    Raises: ConfigError, DataError; a folder that holds something is left as it is.
    """
    format = format or FORMATS[task.kind][0]
    if format not in FORMATS[task.kind]:
        raise ConfigError(
            f"danlu export: found the format {format!r}; expected one of {', '.join(FORMATS[task.kind])} for "
            f"{task.kind}s; say --format"
        )
    folder = artifacts.folder("prepared", task.name)
    if not (folder / "meta.json").is_file():
        raise DataError(f"{folder}: found no prepared data; expected them; `danlu run {task.name} --until prepare`")
    out = out or EXPORTED / task.name
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out}: found something there; expected a new or an empty folder; delete it, or say --out")
    counts = {}
    try:
        with artifacts.fresh(out) as building:
            for split in splits:
                write = _write_images if task.kind == "image" else _write_texts
                counts[split] = write(folder, split, building, format)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror or error}); expected room and permission; say --out"
        ) from None
    finally:
        shutil.rmtree(out.with_name(f".{out.name}.building"), ignore_errors=True)
    return Exported(out, format, counts)


def _write_images(folder: Path, split: str, out: Path, format: str) -> int:
    """Writes a split's images, and its rows at the end of the table; returns how many there are."""
    rows = prepared.table(folder, split, ["id", "label", "group"])
    suffix = "jpg" if format == "jpeg" else format
    classes = prepared.target(folder).kind == "classes"
    folders = [f"{split}/{_folder(label)}" if classes else split for label in rows["label"]]
    paths = [f"{where}/{number:06}.{suffix}" for number, where in enumerate(folders)]
    for where in dict.fromkeys(folders):
        (out / where).mkdir(parents=True, exist_ok=True)
    for pixels, path in zip(prepared.images(folder, split), paths, strict=True):
        _save(pixels, out / path, format)
    table = rows.assign(path=paths, split=split)[["path", "label", "group", "split", "id"]]
    with _Table(out / TABLE, "csv") as file:
        file.write(table)
    return len(rows)


def _write_texts(folder: Path, split: str, out: Path, format: str) -> int:
    """Writes a split's cleaned texts, a shard at a time, and returns how many there are."""
    import pandas as pd

    count = 0
    with _Table(out / f"{split}.{format}", format) as file:
        for shard in prepared.shards(folder, split):
            rows = pd.read_parquet(prepared.with_suffix(shard, ".parquet"), columns=["id", "label", "group"])
            texts = [text for part in cleaned(shard) for text in part]
            file.write(rows.assign(text=texts, split=split)[["id", "text", "label", "group", "split"]])
            count += len(rows)
    return count


def _folder(label: str) -> str:
    """The label as a folder's name: what some file system takes for something else is escaped as in URLs.

    One that is too long is cut, and told from others by a hash.
    """
    name = re.sub(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.|[. ]$', lambda found: f"%{ord(found[0]):02X}", label)
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[:200].decode('utf-8', 'ignore')}~{blake2b(label.encode(), digest_size=8).hexdigest()}"


def _save(pixels: "np.ndarray", path: Path, format: str) -> None:
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"quality": QUALITY, "subsampling": 0} if format == "jpeg" else {}
    image.save(path, **options)


class _Table:
    """A table that is written piece by piece, at the end of what there is of it."""

    def __init__(self, path: Path, format: str) -> None:
        self._path, self._format = path, format
        self._parquet: Any = None

    def __enter__(self) -> "_Table":
        return self

    def write(self, rows: "pd.DataFrame") -> None:
        if self._format == "csv":
            rows.to_csv(self._path, mode="a", header=not self._path.exists(), index=False, lineterminator="\n")
        elif self._format == "jsonl":
            with self._path.open("a", encoding="utf-8") as file:
                for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            schema = pa.schema([(name, pa.string()) for name in rows.columns])
            self._parquet = self._parquet or pq.ParquetWriter(self._path, schema)
            self._parquet.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False))

    def __exit__(self, *_: object) -> None:
        if self._parquet:
            self._parquet.close()
