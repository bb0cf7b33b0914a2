"""Writes a task's prepared data as plain files for other tools: folders of PNG or JPEG, or tables.

Images go to <split>/<class>/<row>.png, named in a table beside them, so that both `image_folder` and `image_table` read
them again; texts go to one table a split.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline import artifacts
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ImageFormat = Literal["png", "jpeg"]
TableFormat = Literal["csv", "jsonl", "parquet"]
FORMATS: dict[str, tuple[str, ...]] = {"image": get_args(ImageFormat), "text": get_args(TableFormat)}
EXPORTED = Path("data/exported")
TABLE = "labels.csv"
QUALITY = 95  # of JPEG, 0..100


@dataclass(frozen=True)
class Exported:
    folder: Path
    format: str
    counts: dict[str, int]  # by split

    def __str__(self) -> str:
        counts = ", ".join(f"{split} {count:,}" for split, count in self.counts.items())
        return f"{self.folder}: wrote {sum(self.counts.values()):,} examples as {self.format} ({counts})"


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
    prepared = artifacts.folder("prepared", task.name)
    if not (prepared / "meta.json").is_file():
        raise DataError(f"{prepared}: found no prepared data; expected them; `danlu run {task.name} --until prepare`")
    out = out or EXPORTED / task.name
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out}: found something there; expected a new or an empty folder; delete it, or say --out")
    examples = _examples(prepared)
    rows = {split: examples[examples["split"] == split] for split in splits}
    try:
        with artifacts.fresh(out) as building:
            if task.kind == "image":
                _write_images(rows, prepared, building, format)
            else:
                _write_texts(rows, building, format)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror or error}); expected room and permission; say --out"
        ) from None
    finally:
        shutil.rmtree(out.with_name(f".{out.name}.building"), ignore_errors=True)
    return Exported(out, format, {split: len(of) for split, of in rows.items()})


def _examples(prepared: Path) -> "pd.DataFrame":
    """A row an example: id, split, its row within the split, label, group; of texts the cleaned text too."""
    import pandas as pd

    return pd.read_parquet(prepared / "examples.parquet")


def _images(prepared: Path, split: str) -> Any:
    """uint8 [N, H, W, C] of a split, read as it is used; C 1 or 3."""
    import numpy as np

    return np.load(prepared / f"{split}.images.npy", mmap_mode="r")


def _write_images(splits: Mapping[str, "pd.DataFrame"], prepared: Path, out: Path, format: str) -> None:
    import pandas as pd

    tables = []
    for split, rows in splits.items():
        for label in rows["label"].unique():
            (out / split / _folder(label)).mkdir(parents=True, exist_ok=True)
        images, paths = _images(prepared, split), [_path(row, format) for row in rows.itertuples()]
        for number, path in zip(rows["row"], paths):
            _save(images[number], out / path, format)
        tables.append(rows[["id", "label", "group", "split"]].assign(path=paths))
    table = pd.concat(tables)[["path", "label", "group", "split", "id"]]
    _write_table(table, out / TABLE, "csv")


def _write_texts(splits: Mapping[str, "pd.DataFrame"], out: Path, format: str) -> None:
    for split, rows in splits.items():
        _write_table(rows[["id", "text", "label", "group", "split"]], out / f"{split}.{format}", format)


def _path(row: Any, format: str) -> str:
    return f"{row.split}/{_folder(row.label)}/{row.row:06}.{'jpg' if format == 'jpeg' else format}"


def _folder(label: str) -> str:
    """The label as a folder's name: what some file system takes for something else is escaped as in URLs."""
    name = re.sub(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.|[. ]$', lambda found: f"%{ord(found[0]):02X}", label)
    return name if len(name.encode()) <= 255 else name.encode()[:200].decode("utf-8", "ignore")


def _save(pixels: "np.ndarray", path: Path, format: str) -> None:
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"quality": QUALITY, "subsampling": 0} if format == "jpeg" else {}
    image.save(path, **options)


def _write_table(rows: "pd.DataFrame", path: Path, format: str) -> None:
    if format == "csv":
        rows.to_csv(path, index=False, lineterminator="\n")
    elif format == "jsonl":
        rows.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        rows.to_parquet(path, index=False)
