"""Shards that earlier runs made, outside the stages' outputs, which DVC deletes before a stage runs again.

A shard is found by what it is made of, so that a killed run goes on where it was, and a run with new data makes what
is new. Safe to delete: .danlu/cache. A shard is one file with the stage's output (a hard link), so whoever writes
into that output damages it: every shard has a record of its files' sizes and digests, and one that is not as recorded
is removed, and made again.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts

log = logging.getLogger(__name__)
ROWS = ".rows.npy"  # the digests of a shard's rows
RECORD = ".entry.json"  # what the shard's other files are; comes last and makes it valid
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


@dataclass(frozen=True)
class _File:
    bytes: int
    digest: str  # blake2b
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "_File":
        """Read whole, about 1 GB a second."""
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST)).hexdigest()
            status = os.fstat(file.fileno())
        return cls(status.st_size, digest, status.st_mtime_ns, status.st_ino)

    def untouched(self, path: str) -> bool:
        """Whether it can be read and nobody has written to it, as far as its size, time and inode say."""
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
        return (self.bytes, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)

    def differs(self, found: "_File") -> str:
        """In which way another content is there; empty where it is the same."""
        if found.bytes != self.bytes:
            return f"{found.bytes:,} bytes; expected {self.bytes:,}"
        return "" if found.digest == self.digest else f"digest {found.digest}; expected {self.digest}"


class Shelf:
    """The shards of one task and key: each some files `<name><suffix>`, its rows' digests and a record of them all."""

    def __init__(self, task: str, key: str, suffixes: Sequence[str]) -> None:
        self.folder = artifacts.STATE / "cache" / "shards" / f"{task}-{key}"
        self._suffixes = tuple(suffixes)
        self._files = (*self._suffixes, ROWS)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index: tuple[np.ndarray, np.ndarray, np.ndarray, list[Path]] | None = None

    @staticmethod
    def name(digests: np.ndarray) -> str:
        """Of a shard with just these rows; digests uint8 [n, DIGEST]."""
        return hashlib.sha256(digests.tobytes()).hexdigest()[:32]

    def stem(self, name: str) -> Path:
        return self.folder / name

    def building(self, name: str) -> Path:
        """Where this process or a worker of it writes the shard's files, to be taken over by `put`."""
        return self.folder / f".{name}.{os.getpid()}.building"

    def has(self, name: str) -> bool:
        """Whether the shard is there and as it was written; then `tidy` leaves it alone for a month."""
        return self._sound(name) and self._use(self.stem(name))

    def _use(self, stem: Path) -> bool:
        """Whether it is still there; no process deletes it between this answer and the use."""
        with _locked(fcntl.LOCK_SH), contextlib.suppress(FileNotFoundError):
            os.utime(f"{stem}{RECORD}")
            return True
        return False

    def _sound(self, name: str) -> bool:
        """Whether the shard is as it was written; one that is damaged is removed.

        Digests are computed where a file's size, time or inode are not those of the record, as after an interrupted
        copy or a write through the output: of all files at each run they would be a minute for a million images. A
        disk that changes bytes and no time is not noticed.
        """
        if self._untouched(name):
            return True
        with _locked(fcntl.LOCK_EX):
            return self._whole(name)

    def _untouched(self, name: str) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return all(file.untouched(f"{self.stem(name)}{suffix}") for suffix, file in self._record(name).items())
        return False

    def _record(self, name: str) -> dict[str, _File]:
        """Raises: ValueError, OSError where it cannot be read."""
        found = artifacts.read_json(Path(f"{self.stem(name)}{RECORD}"))
        try:
            return {suffix: _File(**found[suffix]) for suffix in self._files}
        except (KeyError, TypeError):
            raise ValueError("a record of other things; expected the shard's files") from None

    def _whole(self, name: str) -> bool:
        """By the digests of all its files, which nobody replaces meanwhile."""
        stem = self.stem(name)
        if not Path(f"{stem}{RECORD}").is_file():
            return False
        try:
            record = self._record(name)
            found = {suffix: _File.of(f"{stem}{suffix}") for suffix in self._files}
            wrong = [f"{suffix}: {why}" for suffix in self._files if (why := record[suffix].differs(found[suffix]))]
        except (OSError, ValueError) as error:
            wrong = [str(error)]
        if wrong:
            log.warning("%s: found damage, %s; removed from the cache, and made again", stem, ", ".join(wrong))
            _remove(self.folder, name)
            return False
        self._write(name, found)
        return True

    def _write(self, name: str, files: Mapping[str, _File]) -> None:
        artifacts.write_json(
            Path(f"{self.stem(name)}{RECORD}"), {suffix: asdict(file) for suffix, file in files.items()}
        )

    def put(self, name: str, digests: np.ndarray) -> None:
        """Takes over what was written to `building(name)`, unless another process was first with the same shard."""
        building = self.building(name)
        with open(f"{building}{ROWS}", "wb") as file:
            np.save(file, digests)
        record = {}
        for suffix in self._files:
            with open(f"{building}{suffix}", "rb") as file:
                os.fsync(file.fileno())
            record[suffix] = _File.of(f"{building}{suffix}")
        with _locked(fcntl.LOCK_EX):
            if self._untouched(name):
                for suffix in self._files:
                    os.unlink(f"{building}{suffix}")
                os.utime(f"{self.stem(name)}{RECORD}")
                return
            for suffix in self._files:
                os.replace(f"{building}{suffix}", f"{self.stem(name)}{suffix}")
            self._write(name, record)

    def link(self, name: str, target: Path) -> None:
        """Gives the shard's files a second name, or copies them to another file system."""
        for suffix in self._suffixes:
            source, out = f"{self.stem(name)}{suffix}", f"{target}{suffix}"
            try:
                os.link(source, out)
            except OSError:
                shutil.copyfile(source, out)

    def find(self, digests: np.ndarray) -> list[Place | None]:
        """Where each row lies in a shard made earlier, or None; digests uint8 [n, DIGEST]."""
        known, shard, row, stems = self._opened()
        if not len(known):
            return [None] * len(digests)
        wanted = _words(digests)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        hits = known[at] == wanted
        gone = [number for number in np.unique(shard[at[hits]]) if not self._use(stems[number])]
        hits &= ~np.isin(shard[at], gone)
        return [Place(stems[shard[k]], int(row[k])) if hit else None for k, hit in zip(at, hits, strict=True)]

    def _opened(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Path]]:
        if self._index is None:
            digests, shards, rows = [np.empty((0, DIGEST), np.uint8)], [], []
            stems: list[Path] = []
            for name in sorted(path.name.removesuffix(RECORD) for path in self.folder.glob(f"[!.]*{RECORD}")):
                if not self._sound(name):
                    continue
                try:
                    found = np.load(f"{self.stem(name)}{ROWS}", allow_pickle=False)
                except FileNotFoundError:
                    continue  # another task has just tidied it away
                digests.append(found)
                shards.append(np.full(len(found), len(stems), np.int32))
                rows.append(np.arange(len(found), dtype=np.int32))
                stems.append(self.stem(name))
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
            for name in {path.name.partition(".")[0] for path in folder.glob("[!.]*")}:
                record = folder / f"{name}{RECORD}"
                with _locked(fcntl.LOCK_EX):
                    if _delete(record, now - KEPT) or not record.is_file():
                        _remove(folder, name)


@contextlib.contextmanager
def _locked(how: int) -> Iterator[None]:
    """Alone (LOCK_EX) to change what the shelves hold, or with others (LOCK_SH) to say what is in use."""
    path = artifacts.STATE / "locks" / "cache.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield


def _remove(folder: Path, name: str) -> None:
    """All files of a shard, first its record, without which the others count for nothing."""
    (folder / f"{name}{RECORD}").unlink(missing_ok=True)
    for path in folder.glob(f"{name}.*"):
        path.unlink(missing_ok=True)


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
