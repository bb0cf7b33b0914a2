"""Shards that earlier runs made, outside the stages' outputs, which DVC deletes before a stage runs again.

A shard is found by what it is made of, so that a killed run goes on where it was, and a run with new data makes what
is new. Safe to delete: .danlu/cache. Nothing in it is ever changed in place.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts

KEPT = 30 * 86400  # seconds since a shard was last used
HALF_MADE = 3600  # seconds since a shard that is not complete was last written to
DIGEST = 16  # bytes that tell an example's content


def key(settings: Mapping[str, Any], modules: Iterable[Path]) -> str:
    """One word for all that decides how an example's bytes become arrays: the settings and the code's own files."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in modules:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:24]


@dataclass(frozen=True)
class Place:
    """An example's row in a shard of the cache; `stem` is the shard's path without a suffix."""

    stem: Path
    row: int


class Shelf:
    """The shards of one task and key: each some files `<name><suffix>`, and in `<name>.rows.npy` its rows' digests."""

    def __init__(self, task: str, key: str, suffixes: Sequence[str]) -> None:
        self.folder = artifacts.STATE / "cache" / "shards" / f"{task}-{key}"
        self._suffixes = tuple(suffixes)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index: tuple[np.ndarray, np.ndarray, np.ndarray, list[Path]] | None = None

    @staticmethod
    def name(digests: np.ndarray) -> str:
        """Of a shard with just these rows; digests uint8 [n, DIGEST]."""
        return hashlib.sha256(digests.tobytes()).hexdigest()[:32]

    def stem(self, name: str) -> Path:
        return self.folder / name

    def building(self, name: str) -> Path:
        """Where a worker writes the shard's files, to be taken over by `put`."""
        return self.folder / f".{name}.building"

    def has(self, name: str) -> bool:
        return all(Path(f"{self.stem(name)}{suffix}").is_file() for suffix in (*self._suffixes, ".rows.npy"))

    def put(self, name: str, digests: np.ndarray) -> None:
        """Takes over what was written to `building(name)`; its list of rows comes last and makes it valid."""
        for suffix in self._suffixes:
            with open(f"{self.building(name)}{suffix}", "rb") as file:
                os.fsync(file.fileno())
            os.replace(f"{self.building(name)}{suffix}", f"{self.stem(name)}{suffix}")
        with artifacts.whole(self.folder / f"{name}.rows.npy") as building, building.open("wb") as file:
            np.save(file, digests)

    def link(self, name: str, target: Path) -> None:
        """Gives the shard's files a second name, or copies them to another file system."""
        for suffix in self._suffixes:
            source, out = f"{self.stem(name)}{suffix}", f"{target}{suffix}"
            try:
                os.link(source, out)
            except OSError:
                shutil.copyfile(source, out)
        os.utime(self.folder / f"{name}.rows.npy")

    def find(self, digests: np.ndarray) -> list[Place | None]:
        """Where each row lies in a shard made earlier, or None; digests uint8 [n, DIGEST]."""
        known, shard, row, stems = self._opened()
        if not len(known):
            return [None] * len(digests)
        wanted = _words(digests)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        hits = known[at] == wanted
        return [Place(stems[shard[k]], int(row[k])) if hit else None for k, hit in zip(at, hits, strict=True)]

    def _opened(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Path]]:
        if self._index is None:
            digests, shards, rows = [np.empty((0, DIGEST), np.uint8)], [], []
            stems: list[Path] = []
            for path in sorted(self.folder.glob("[!.]*.rows.npy")):
                if not self.has(path.name.removesuffix(".rows.npy")):
                    continue
                found = np.load(path, allow_pickle=False)
                digests.append(found)
                shards.append(np.full(len(found), len(stems), np.int32))
                rows.append(np.arange(len(found), dtype=np.int32))
                stems.append(path.with_name(path.name.removesuffix(".rows.npy")))
            words = _words(np.concatenate(digests))
            order = np.argsort(words, kind="stable")
            none = [np.empty(0, np.int32)]
            numbers = [np.concatenate([*none, *column])[order] for column in (shards, rows)]
            self._index = (words[order], numbers[0], numbers[1], stems)
        return self._index

    def tidy(self) -> None:
        """Deletes shards of every key that nothing has used for a month, and what killed runs left half made."""
        now = time.time()
        for path in self.folder.glob(".*.building*"):
            _delete(path, now - HALF_MADE)  # a younger one may be another task's, at work
        for folder in self.folder.parent.iterdir():
            for path in folder.glob("[!.]*.rows.npy"):
                if _delete(path, now - KEPT):  # first: without it the others count for nothing
                    for other in folder.glob(f"{path.name.removesuffix('.rows.npy')}.*"):
                        other.unlink(missing_ok=True)


def _delete(path: Path, before: float) -> bool:
    """Deletes a file that was last used before then, which another process may do at the same time."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mtime < before:
            path.unlink()
            return True
    return False


def _words(digests: np.ndarray) -> np.ndarray:
    """uint8 [n, DIGEST] as sortable words [n]."""
    return np.ascontiguousarray(digests, np.uint8).view(f"S{DIGEST}").ravel()
