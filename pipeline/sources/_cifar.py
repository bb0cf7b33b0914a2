"""The batches of CIFAR-10 and CIFAR-100, in their binary version or in Python's, of which no code is run."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Version:
    """One of the forms in which a data set is published; files are (name, split)."""

    archive: str  # in which it is published
    folder: str
    files: tuple[tuple[str, str], ...]
    names: str  # the file of the classes' names
    labels: int = 0  # of each image in a binary version; the last one counts
    key: bytes = b""  # of the labels in Python's version

    @property
    def binary(self) -> bool:
        return self.names.endswith(".txt")


_TEN = [(f"data_batch_{k}", "train") for k in range(1, 6)] + [("test_batch", "test")]
VERSIONS = {
    "cifar10": (
        Version(
            archive="cifar-10-binary.tar.gz",
            folder="cifar-10-batches-bin",
            files=tuple((f"{name}.bin", split) for name, split in _TEN),
            names="batches.meta.txt",
            labels=1,
        ),
        Version(
            archive="cifar-10-python.tar.gz",
            folder="cifar-10-batches-py",
            files=tuple(_TEN),
            names="batches.meta",
            key=b"labels",
        ),
    ),
    "cifar100": (
        Version(
            archive="cifar-100-binary.tar.gz",
            folder="cifar-100-binary",
            files=(("train.bin", "train"), ("test.bin", "test")),
            names="fine_label_names.txt",
            labels=2,
        ),
        Version(
            archive="cifar-100-python.tar.gz",
            folder="cifar-100-python",
            files=(("train", "train"), ("test", "test")),
            names="meta",
            key=b"fine_labels",
        ),
    ),
}


def find(dataset: str, *roots: Path) -> tuple[Version, Path] | None:
    """The first complete version below the roots, or at one."""
    for version in VERSIONS[dataset]:
        for place in (place for root in roots for place in (root, root / version.folder)):
            if all((place / name).is_file() for name, _ in (*version.files, (version.names, ""))):
                return version, place
    return None


def classes(version: Version, place: Path) -> list[str]:
    path = place / version.names
    if version.binary:
        return path.read_text("utf-8").split()
    held = _unpickled(path)
    names = held.get(b"label_names", held.get(b"fine_label_names"))
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise _fault(path, "no list of names")
    return [name.decode("utf-8", "replace") for name in names]


def batches(version: Version, place: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """File, split, uint8 [N, 32, 32, 3] and labels [N] of each batch."""
    for name, split in version.files:
        pixels, labels = (_binary if version.binary else _python)(version, place / name)
        yield name.removesuffix(".bin"), split, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _binary(version: Version, path: Path) -> tuple[np.ndarray, np.ndarray]:
    width, size = version.labels + PIXELS, path.stat().st_size
    if not size or size % width:
        raise _fault(path, f"{size:,} bytes, no multiple of {width:,}")
    rows = np.fromfile(path, np.uint8).reshape(-1, width)
    return rows[:, version.labels :], rows[:, version.labels - 1].astype(np.int64)


def _python(version: Version, path: Path) -> tuple[np.ndarray, np.ndarray]:
    held = _unpickled(path)
    data, labels = held.get(b"data"), held.get(version.key)
    if not isinstance(data, _Array) or not isinstance(labels, list) or not all(type(n) is int for n in labels):
        raise _fault(path, "no images and labels")
    return data.pixels(path, len(labels)), np.array(labels, np.int64)


class _Array:
    """Stands for a NumPy array: what the pickle says of it is kept, and nothing is called."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def pixels(self, path: Path, rows: int) -> np.ndarray:
        try:
            _, shape, kind, fortran, content = self.state
            whole = shape == (rows, PIXELS) and kind.name in ("u1", b"u1") and not fortran
            if whole and isinstance(content, bytes) and len(content) == rows * PIXELS:
                return np.frombuffer(content, np.uint8).reshape(rows, PIXELS)
        except (TypeError, ValueError, AttributeError):
            pass
        raise _fault(path, f"images of another form than uint8 [{rows:,}, {PIXELS:,}]")


class _Type:
    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


class _Class:
    """Stands for `numpy.ndarray`, which a pickle only names."""


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if isinstance(text, str) and encoding in ("latin1", b"latin1"):
        return text.encode("latin1")
    raise ValueError(f"bytes in {encoding!r}")


STAND_INS: dict[tuple[str, str], Callable[..., Any] | type] = {
    (module, name): stand_in
    for package in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for module, name, stand_in in (
        (package, "_reconstruct", _reconstruct),
        (package, "ndarray", _Class),
        (package, "dtype", _Type),
        ("_codecs", "encode", _encode),
    )
}


class _Unpickler(pickle.Unpickler):
    """Knows four names, for each of which an inert stand-in is made; any other ends it."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def _unpickled(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            held = _Unpickler(file, encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise _fault(path, str(error)[:200] or type(error).__name__) from None
    except (MemoryError, OverflowError, RecursionError, ImportError, NotImplementedError) as error:
        raise _fault(path, type(error).__name__) from None
    if not isinstance(held, dict):
        raise _fault(path, "no dictionary")
    return held


def _fault(path: Path, found: str) -> DataError:
    return DataError(f"{path}: found {found}; expected a batch of CIFAR; get it again")
