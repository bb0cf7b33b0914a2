"""Where every stage's output lies, and how a file is written: whole, or not at all.

All paths are relative to the project's root, where DVC starts each stage.
"""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

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


def mapped(path: Path, dtype: "DTypeLike", shape: tuple[int, ...]) -> "np.ndarray":
    """A new .npy file as an array of zeros to write into, whose bytes the disk has granted all.

    Written into without that, a full disk ends the process by SIGBUS, which no code can turn into a message.
    Raises: OSError with the file's name and size where the disk has no room.
    """
    import numpy as np

    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    try:
        with path.open("wb", buffering=0) as file:
            np.lib.format.write_array_header_1_0(file, header)
            _allocate(file, size)
    except OSError as error:
        found = f"{error.strerror} for the {size / 1e6:,.1f} MB of {path.name}"
        raise OSError(error.errno, found, str(path)) from None
    return np.lib.format.open_memmap(path, "r+")


ZEROS = 1 << 20  # bytes written at once
_UNABLE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # a file system without the call


def _allocate(file: BinaryIO, size: int) -> None:
    """`size` bytes more, by the system's call where there is one (macOS has none) and by writing zeros elsewhere."""
    start = file.tell()
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), start, size)
            return
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
    while (left := start + size - file.tell()) > 0:
        file.write(bytes(min(left, ZEROS)))


def copy_plot(table: Path, task: str) -> None:
    """Copies a table to data/plots/<task>.<name>: DVC draws what is an output by itself, not what lies in one."""
    with whole(DATA / "plots" / f"{task}.{table.name}") as building:
        shutil.copyfile(table, building)
