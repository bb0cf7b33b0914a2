"""Compares a delivery with its list of check sums, as sha256sum, md5sum, BSD's tools and BagIt write it."""

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import DataError
from pipeline.sources import _tree

ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}  # by the length of a sum in hex
SHOWN = 20  # files named of each kind of fault
LINE = re.compile(r"(?P<escaped>\\?)(?P<sum>[0-9a-fA-F]{32,128}) [ *](?P<name>.+)")
BSD = re.compile(r"(?P<escaped>)\w+ \((?P<name>.+)\) = (?P<sum>[0-9a-fA-F]{32,128})")
SIGNATURES = (".asc", ".sig", ".gpg")
KNOWN = ("sha256sums", "sha256sums.txt", "md5sums", "md5sums.txt", "checksums.sha256", "checksums.md5")
BESIDE = (".sha256", ".sha512", ".sha384", ".sha1", ".md5", ".sha256sum", ".sha512sum", ".sha1sum", ".md5sum")
ALONE = re.compile(r"([0-9a-fA-F]{32,128})(?:[ *]+-)?")  # a sum without a name, as of a pipe
LARGEST = 1 << 20  # bytes of a list beside an archive
BAG = re.compile(r"manifest-(md5|sha1|sha256|sha512)\.txt")


def known(name: str) -> bool:
    """Whether a file of this name is a list of check sums."""
    return name.lower() in KNOWN or bool(BAG.fullmatch(name))


def verify(delivery: Path, name: str) -> None:
    """Holds every file below the list's own folder against it; of a BagIt bag, every file below data/.

    Raises: DataError that names what is missing, extra, or differs.
    """
    if reason := _tree.own(delivery, name):
        raise DataError(f"{delivery}: found no {name} ({reason}); expected the list of check sums; deliver it too")
    listing = delivery / name
    root, sums = listing.parent, _read(listing)
    below = "data/" if BAG.fullmatch(listing.name) and (root / "bagit.txt").is_file() else ""
    own = {listing.name, *(listing.name + suffix for suffix in SIGNATURES)}
    faults: dict[str, list[str]] = {"missing": [], "differs": [], "extra": []}
    there = set()
    for found in _tree.walk(root):
        there.add(found.name)
        if found.name not in sums:
            if found.name.startswith(below) and found.name not in own:
                faults["extra"].append(found.name + (f" ({found.refused})" if found.refused else ""))
        elif found.name not in own and (found.refused or _sum(found.path, len(sums[found.name])) != sums[found.name]):
            faults["differs"].append(found.name)
    faults["missing"] = sorted(sums.keys() - there - own)
    if any(faults.values()):
        shown = "; ".join(f"{kind} {_some(names)}" for kind, names in faults.items() if names)
        raise DataError(f"{root}: found {shown}; expected exactly what {listing.name} lists; deliver it again")


def beside(archive: Path) -> list[Path]:
    """The lists of check sums that lie beside an archive by its name, such as photos.zip.sha256."""
    return [path for suffix in BESIDE if (path := archive.with_name(archive.name + suffix)).is_file()]


def verify_archive(archive: Path) -> None:
    """Holds an archive against the lists beside it, before it is opened. Raises: DataError."""
    for listing in beside(archive):
        wanted, status = _stated(listing, archive.name), archive.stat()
        found = _whole_sum(archive, len(wanted), status.st_size, status.st_mtime_ns)
        if found != wanted:
            raise DataError(f"{archive}: found the sum {found}; expected {wanted}, by {listing.name}; deliver it again")


def _stated(listing: Path, name: str) -> str:
    """The sum that a list says of a file of this name."""
    if listing.stat().st_size > LARGEST:
        raise DataError(f"{listing}: found over 1 MB; expected the check sum of {name}; correct it")
    alone = ALONE.fullmatch(listing.read_text("utf-8", "replace").strip().removeprefix("\ufeff"))
    if alone and len(alone[1]) in ALGORITHMS:
        return alone[1].lower()
    sums = {path.rpartition("/")[2]: found for path, found in _read(listing).items()}
    if name not in sums:
        raise DataError(f"{listing}: found no check sum of {name}; expected one; correct the list, or remove it")
    return sums[name]


@functools.lru_cache(maxsize=1000)
def _whole_sum(archive: Path, length: int, _size: int, _mtime_ns: int) -> str:
    return _sum(archive, length)


def _some(names: Iterable[str]) -> str:
    names = [name if name.isprintable() else ascii(name) for name in names]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _read(listing: Path) -> dict[str, str]:
    """Name below the list's folder → sum in lower-case hex. Raises: DataError."""
    sums: dict[str, str] = {}
    for number, line in enumerate(listing.read_text("utf-8", "surrogateescape").split("\n"), 1):
        line = line.removesuffix("\r").removeprefix("\ufeff")
        if not line.strip() or line.startswith(("#", ";")):
            continue
        match = LINE.fullmatch(line) or BSD.fullmatch(line)
        if not match or len(match["sum"]) not in ALGORITHMS:
            raise DataError(f"{listing}:{number}: found {line[:80]!r}; expected a check sum and a name; correct it")
        name = match["name"]
        if match["escaped"]:
            name = name.replace("\\n", "\n").replace("\\\\", "\\")
        sums[_tree.printable(name.removeprefix("./"))] = match["sum"].lower()
    if not sums:
        raise DataError(f"{listing}: found no check sum; expected one a file; deliver the list again")
    return sums


def _sum(path: Path, length: int) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, ALGORITHMS[length]).hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
