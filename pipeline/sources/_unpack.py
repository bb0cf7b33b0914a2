"""Unpacks an archive into a private, content-addressed folder below .danlu/, which is safe to delete.

Nothing but plain files and folders is made, and nothing outside that folder, whatever the archive says.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline import artifacts
from pipeline.errors import ChangingError, DataError
from pipeline.sources import _tar, _zip
from pipeline.sources._entry import Budget, Entry, Limits, Names, whole
from pipeline.sources._target import Places

VERSION = 2  # of what is written here; another one leaves what older code unpacked alone
MAGIC = {
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"(\xb5/\xfd": "zst",
}
MAGIC |= {bytes([0x50 + k]) + b"*M\x18": "zst" for k in range(16)}  # a frame that is skipped goes before
KEPT = 30 * 86400  # seconds since what was unpacked was last used
UNREAD = {b"Rar!": "rar", b"7z\xbc\xaf": "7z"}
EXPECTED = "expected zip, tar, tar.gz, tar.bz2, tar.xz or tar.zst"


@dataclass(frozen=True)
class Unpacked:
    root: Path
    sha256: str  # of the archive
    refused: tuple[tuple[str, str], ...]  # entries that were not written: name, reason


def form(path: Path) -> str | None:
    """`zip`, or how a tar is compressed (`tar`: not at all), by the file's first bytes; None for no archive.

    Raises: DataError for an archive of a kind that is not read.
    """
    with path.open("rb") as file:
        start = file.read(512)
    for magic, name in UNREAD.items():
        if start.startswith(magic):
            raise DataError(f"{path}: found a {name} archive; {EXPECTED}; repack it")
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            return name
    return "tar" if start[257:262] == b"ustar" or path.suffix.lower() == ".tar" else None


@functools.lru_cache(maxsize=1000)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(path: Path, names: Names | None, limits: Limits, digest: str | None = None) -> Unpacked:
    """The archive's files, unpacked now or by an earlier run; `digest` is its sha256 where that is known.

    Raises: DataError for an archive that is refused as a whole; nothing of it stays.
    """
    before = os.stat(path)
    digest = digest or _sha256(path, before.st_size, before.st_mtime_ns)
    asked = json.dumps([VERSION, digest, names, asdict(limits)])
    folder = artifacts.STATE / "unpacked" / hashlib.sha256(asked.encode()).hexdigest()[:32]
    refused = _kept(folder)
    if refused is None:
        with _building(folder) as building:
            refused = _write(Budget(path, limits), names, building)
            after = os.stat(path)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise ChangingError(f"{path}: found it changing while it was read; expected a finished file; run again")
    return Unpacked(folder / "files", digest, tuple((name, reason) for name, reason in refused))


def _kept(folder: Path) -> list[list[str]] | None:
    """What an earlier run refused, if all that it wrote is there as it left it; what is not is put away."""
    try:
        record = artifacts.read_json(folder / "verdict.json")
        refused = [[str(name), str(reason)] for name, reason in record["refused"]]
        if record["state"] == _state(folder / "files"):
            os.utime(folder / "verdict.json")
            return refused
    except (OSError, ValueError, TypeError, KeyError):
        pass
    _put_away(folder)
    return None


def _state(root: Path) -> str:
    """A hash of all names, sizes and times below a folder.

    Contents are not read again: whatever writes into a file, or takes its place, leaves another time of its inode's
    change, which no user can set. What a failing disk does to a file at rest is not found so.
    """
    digest = hashlib.blake2b(digest_size=16)
    for place, inner, names in os.walk(root):
        inner.sort()
        below = os.path.relpath(place, root)
        for name in sorted(names):
            found = os.lstat(os.path.join(place, name))
            line = f"{below}/{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        digest.update("\0".join([below, *inner, "\n"]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _put_away(folder: Path) -> None:
    """Deletes a folder, under another name first: half of it is never found again."""
    going = folder.with_name(f".{folder.name}.{os.getpid()}.building")
    with contextlib.suppress(OSError):  # not there, or another process does the same
        os.rename(folder, going)
        shutil.rmtree(going)


class _building:
    """A private folder that takes its final name when all went well; of two that unpack the same, one stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._building = folder.with_name(f".{folder.name}.{os.getpid()}.building")

    def __enter__(self) -> Path:
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._folder.parent.glob(".*.building"):  # by a process that was killed
            process = int(left.name.split(".")[-2])
            if process == os.getpid() or not _alive(process):  # a container gives the same number again and again
                shutil.rmtree(left, ignore_errors=True)
        _tidy(self._folder.parent)
        self._building.mkdir(mode=0o700)
        (self._building / "files").mkdir(mode=0o700)
        return self._building

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                os.rename(self._building, self._folder)
        except OSError:
            if not self._folder.is_dir():
                raise
        finally:
            shutil.rmtree(self._building, ignore_errors=True)


def _tidy(parent: Path) -> None:
    """Deletes what nothing has used for a month."""
    for verdict in parent.glob("[!.]*/verdict.json"):
        with contextlib.suppress(OSError):  # another process does the same
            if verdict.stat().st_mtime < time.time() - KEPT:
                _put_away(verdict.parent)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write(budget: Budget, names: Names | None, building: Path) -> list[list[str]]:
    """Writes the entries below `building`/files, and the verdict on them; returns what was refused."""
    places, refused, made = Places(budget), [], set[Path]()
    for entry in _entries(budget, names):
        parts, reason = places.judge(entry)
        target = building.joinpath("files", *parts)
        if reason:
            refused.append([_shown(entry.name), reason])
            continue
        folder = target if entry.folder else target.parent
        if folder not in made:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.add(folder)
        if not entry.folder:
            with target.open("xb") as file:
                for block in entry.blocks():
                    file.write(block)
    record = {"refused": refused, "state": _state(building / "files")}
    artifacts.write_json(building / "verdict.json", record)
    return refused


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def _entries(budget: Budget, names: Names | None) -> Iterator[Entry]:
    path = budget.place
    kind = form(path)
    if kind is None:
        raise DataError(f"{path}: found no archive; {EXPECTED}; correct source.path")
    with path.open("rb") as file:
        steps = _steps(file, kind, budget, names)
        while True:
            with whole(path):
                entry = next(steps, None)
            if entry is None:
                return
            budget.enter()
            yield entry


def _steps(file: BinaryIO, kind: str, budget: Budget, names: Names | None) -> Iterator[Entry]:
    return _zip.entries(file, budget, names) if kind == "zip" else _tar.entries(file, kind, budget, names)
