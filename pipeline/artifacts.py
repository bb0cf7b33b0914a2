"""Where every stage's output lies, and how a file is written: whole, or not at all.

All paths are relative to the project's root, where DVC starts each stage.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DATA = Path("data")
STATE = Path(".danlu")
SPLITS = ("train", "validation", "test")


def folder(stage_output: str, task: str) -> Path:
    """`data/<stage_output>/<task>`, such as data/prepared/solar."""
    return DATA / stage_output / task


@contextmanager
def fresh(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `path` only when the block ends without an error."""
    building = path.with_name(f".{path.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    yield building
    if path.exists():
        shutil.rmtree(path)
    os.replace(building, path)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file name beside `path`; on success it is flushed to disk and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}.building")
    try:
        yield building
        with building.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(building, path)
    finally:
        building.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    with whole(path) as building:
        building.write_text(
            json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n", "utf-8"
        )


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def copy_plot(table: Path, task: str) -> None:
    """Copies a table to data/plots/<task>.<name>: DVC draws what is an output by itself, not what lies in one."""
    with whole(DATA / "plots" / f"{task}.{table.name}") as building:
        shutil.copyfile(table, building)
