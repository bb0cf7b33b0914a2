"""Walks a folder that a stranger made: in a fixed order, never opening a file, every oddity named.

Names that are not UTF-8 are shown with their bytes escaped (`\\xff`).
"""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.examples import SplitName

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif")
SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
SYSTEM_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "__macosx", ".gitignore", ".gitkeep"})


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or with `refused` what stands in a file's place; `parts` is its path below the root, made printable."""

    parts: tuple[str, ...]
    path: Path
    refused: str | None = None

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and name.lower() not in IMAGE_SUFFIXES


def _ignored(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    if name in SYSTEM_NAMES or name.startswith("._"):
        return True
    return name.startswith(".") and entry.is_dir(follow_symlinks=False)


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, hidden system files left out, in the order of the names' bytes."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not _ignored(e)), key=lambda e: os.fsencode(e.name))


def folders(root: Path) -> list[str]:
    return [entry.name for entry in listed(root) if entry.is_dir(follow_symlinks=False)]


def split_folders(root: Path) -> dict[str, SplitName]:
    """The folders that hold the user's own split, with its name; empty if the user made none.

    Raises: DataError when split folders stand beside others, since these could be either.
    """
    if not root.is_dir():
        raise DataError(f"{root}: found no folder; expected one; correct source.path")
    names = folders(root)
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in names if name.lower() in SPLIT_FOLDERS}
    others = [printable(name) for name in names if name not in splits]
    if "train" not in splits.values():
        return {}
    if others and len(splits) == 1 and any(is_image(entry.name) for entry in listed(root / next(iter(splits)))):
        return {}  # images in `train` itself, beside `car`: a class like any other
    if others:
        shown = ", ".join(others[:3])
        raise DataError(
            f"{root}: found {', '.join(splits)} beside {shown}; expected train, val, test alone; move the rest"
        )
    return splits


def walk(root: Path, leave_out: Collection[str] = ()) -> Iterator[Found]:
    """Every file below the root, and everything else but plain folders with the reason why it is refused.

    `leave_out` are paths below the root, such as that of a licence, which are no examples.
    """
    inside = os.path.realpath(root)
    pending: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
    while pending:
        folder, parts = pending.pop()
        try:
            entries = listed(folder)
        except OSError as error:
            yield Found(parts, folder, f"folder cannot be listed: {error.strerror}")
            continue
        deeper = []
        for entry in entries:
            here = (*parts, printable(entry.name))
            if "/".join(here) in leave_out:
                continue
            if entry.is_dir(follow_symlinks=False) and not is_image(entry.name):
                deeper.append((Path(entry.path), here))
            else:
                yield _judge(entry, here, inside)
        pending += reversed(deeper)


def _judge(entry: os.DirEntry[str], parts: tuple[str, ...], inside: str) -> Found:
    path = Path(entry.path)
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if not real.startswith(inside + os.sep):
            return Found(parts, path, "a link out of the folder")
        if not os.path.isfile(real):
            return Found(parts, path, "a link that leads to no file")
        return Found(parts, Path(real))
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return Found(parts, path, f"unreadable: {error.strerror}")
    if stat.S_ISDIR(mode):
        return Found(parts, path, "a folder with the name of a file")
    if not stat.S_ISREG(mode):
        return Found(parts, path, "a named pipe" if stat.S_ISFIFO(mode) else "a socket or device")
    return Found(parts, path)


def own(root: Path, name: str) -> str | None:
    """Why there is no regular file at a path below the root that no link leads to; None where there is one."""
    found = at(root, name)
    linked = found.path != Path(os.path.realpath(root)).joinpath(*found.parts)
    return found.refused or ("a link" if linked else None)


def at(root: Path, name: str) -> Found:
    """What lies at a path that a table names, judged as `walk` judges what it meets."""
    if "\0" in name:
        return Found((name,), root, "a NUL in its name")
    if "\\" in name and not os.path.exists(root / name):
        name = name.replace("\\", "/")  # written by Windows
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    path = root.joinpath(*parts)
    if name.startswith("/") or ".." in parts or not parts:
        return Found(parts or (name,), path, "a path out of the folder")
    real = os.path.realpath(path)
    if not real.startswith(os.path.realpath(root) + os.sep):
        return Found(parts, path, "a link out of the folder")
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return Found(parts, path, "no such file" if missing else f"unreadable: {error.strerror}")
    return Found(parts, Path(real), None if stat.S_ISREG(mode) else "no regular file")
