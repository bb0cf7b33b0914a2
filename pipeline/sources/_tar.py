"""Entries of a tar archive, plain or compressed as gz, bz2, xz or zst, read once from front to back."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.sources._entry import BLOCK, Budget, Entry, Names, decoded, whole

FED = 1 << 10  # compressed bytes given to xz and zstd at a time: what comes out of them is then some MB at most
MEMORY = 1 << 28  # bytes that a decompressor may ask for
HEADER = 1 << 20  # bytes of an entry's extended header
EXTENDED = frozenset(b"xgXLK")  # types of entries that hold the next one's long name or other attributes


def entries(file: BinaryIO, kind: str, budget: Budget, names: Names | None) -> Iterator[Entry]:
    """Every entry, in the archive's order. Raises: EOFError after the last one where the archive does not end properly.

    tarfile takes one block of zeros for the end, and passes over all that follows: a lost sector of a header would hide
    the rest. The end is two blocks of zeros, as POSIX says, and nothing but zeros after them. An archive with one, or
    with none, is refused, though GNU tar reads it with a warning: it may as well have been cut off.
    """
    ends: list[bool] = []
    stream: Any = _Counted(_inflated(file, kind), budget)
    header = _header(ends)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=header, encoding="utf-8", errors="surrogateescape") as archive:
        while member := archive.next():
            archive.members.clear()  # type: ignore[attr-defined]  # a million of them would fill the memory
            name = member.name
            if "path" not in member.pax_headers:
                name = decoded(name.encode("utf-8", "surrogateescape"), budget.place, names)
            yield Entry(name, member.isdir(), _odd(member), _read(archive, member, budget.place))
        if not ends:
            raise EOFError("no end mark")
        _end(archive.fileobj)


def _end(stream: Any) -> None:
    """Reads what follows the first block of zeros, to the compressor's own check sum. Raises: EOFError."""
    second = stream.read(tarfile.BLOCKSIZE)
    if any(second):
        raise EOFError("a block of zeros where a header is expected")
    if len(second) < tarfile.BLOCKSIZE:
        raise EOFError("half an end mark")
    while block := stream.read(BLOCK):
        if any(block):
            raise EOFError("more data after the end mark")


def _header(ends: list[bool]) -> type[tarfile.TarInfo]:
    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                ends.append(True)
            found = super().frombuf(buf, encoding, errors)
            if found.size < 0 or (found.type[0] in EXTENDED and found.size > HEADER):
                raise EOFError(f"a header of {found.size:,} bytes")
            return found

    return Header


def _odd(member: tarfile.TarInfo) -> str | None:
    if member.islnk() or member.issym():
        return "a hard link" if member.islnk() else "a link"
    if member.issparse():
        return "a sparse file"
    return None if member.isreg() or member.isdir() else "a named pipe, socket or device"


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        with whole(place):
            source = archive.extractfile(member)
            while source and (block := source.read(BLOCK)):
                yield block

    return blocks


class _Counted:
    """A stream of which every byte is counted, those of refused entries too."""

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, count: int) -> bytes:
        block = self._stream.read(count)
        self._budget.spend(len(block))
        return block


def _inflated(file: BinaryIO, kind: str) -> Any:
    if kind == "gz":
        return gzip.GzipFile(fileobj=file)
    if kind == "bz2":
        return bz2.BZ2File(file)
    if kind == "xz":
        return io.BufferedReader(_Frames(file, lambda: lzma.LZMADecompressor(memlimit=MEMORY)), BLOCK)
    return io.BufferedReader(_Frames(file, _zstandard), BLOCK) if kind == "zst" else file


def _zstandard() -> Any:
    import zstandard

    class Decoder:
        """zstandard's own, whose errors are of a class that only its importer knows."""

        def __init__(self) -> None:
            self._inner = zstandard.ZstdDecompressor(max_window_size=MEMORY // 2).decompressobj()

        def decompress(self, data: bytes) -> bytes:
            try:
                return self._inner.decompress(data)
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from None

        @property
        def eof(self) -> bool:
            return self._inner.eof

        @property
        def unused_data(self) -> bytes:
            return self._inner.unused_data

    return Decoder()


class _Frames(io.RawIOBase):
    """One compressed frame after another; a cut one is an EOFError, unlike with zstandard's own reader."""

    def __init__(self, file: BinaryIO, start: Callable[[], Any]) -> None:
        self._file, self._start, self._decoder = file, start, start()
        self._begun, self._out = False, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._out:
            rest = b""
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0")  # padding between frames of xz
                self._decoder, self._begun = self._start(), False
            data = rest or self._file.read(FED)
            if not data:
                if self._begun:
                    raise EOFError("cut off")
                return 0
            self._begun = True
            self._out = self._decoder.decompress(data)
        count = min(len(buffer), len(self._out))
        buffer[:count], self._out = self._out[:count], self._out[count:]
        return count
