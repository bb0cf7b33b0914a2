"""Entries of a zip archive."""

import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DataError
from pipeline.sources._entry import BLOCK, Budget, Entry, Names, decoded, whole

ENCRYPTED = 0x2041  # bits of an entry's flags: password, strong encryption, encrypted table of contents
UTF8 = 0x800
SMALLEST = 46  # bytes that an entry takes in the table of contents, at least


def entries(file: BinaryIO, budget: Budget, names: Names | None) -> Iterator[Entry]:
    """Every entry, in the order of the table of contents."""
    _check_contents(file, budget)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.flag_bits & ENCRYPTED:
                raise DataError(f"{budget.place}: found encrypted entries; expected none; unpack and repack it")
            name = _name(info, budget.place, names)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield Entry(name, refused="a link" if kind == stat.S_IFLNK else "a named pipe, socket or device")
            else:
                yield Entry(name, name.endswith("/"), blocks=_read(archive, info, budget))


def _check_contents(file: BinaryIO, budget: Budget) -> None:
    """Refuses a table of contents that alone would fill the memory, before zipfile reads it, which trusts its size."""
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - (1 << 16) - 22)
    file.seek(start)
    end = file.read()
    at = end.rfind(b"PK\5\6")
    held = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if at >= 76 and end[at - 20 :].startswith(b"PK\6\7") and end[at - 76 :].startswith(b"PK\6\6"):  # zip64
        held = int.from_bytes(end[at - 36 : at - 28], "little")
    if held // SMALLEST > budget.limits.entries:
        file.seek(max(0, start + at - held - 76))
        count = 0
        while block := file.read(BLOCK):
            count += block.count(b"PK\1\2")
        if count > budget.limits.entries:
            budget.enter(count)
    file.seek(0)


def _name(info: zipfile.ZipInfo, place: Path, names: Names | None) -> str:
    name = info.orig_filename
    if not info.flag_bits & UTF8:  # zipfile has read it as cp437, which loses nothing
        name = decoded(name.encode("cp437"), place, names)
    return name.replace("\\", "/") if info.create_system == 0 and "/" not in name else name


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        with whole(budget.place), archive.open(info) as source:
            while block := source.read(BLOCK):
                budget.spend(len(block))
                yield block

    return blocks
