"""One entry of an archive, and what reading any archive needs: limits that are counted, names, errors in one form.

The makers of an archive are not trusted: what is odd about one entry is that entry's `refused`; an archive that is cut
off, broken, encrypted or larger than its limits is a DataError as a whole.
"""

import errno
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.errors import DataError

Names = Literal["utf-8", "gb18030", "big5", "cp437"]
BLOCK = 1 << 20  # bytes read at a time
RATIO_FROM = 1 << 26  # bytes unpacked, before which no ratio is judged
FAULTS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, IndexError, KeyError)


class NamesError(DataError):
    """File names in another encoding than was said."""


@dataclass(frozen=True)
class Entry:
    name: str
    folder: bool = False
    refused: str | None = None
    blocks: Callable[[], Iterator[bytes]] = lambda: iter(())  # of a file, to be read before the next entry


@dataclass(frozen=True)
class Limits:
    bytes: int  # unpacked
    entries: int  # files and folders
    ratio: float  # bytes unpacked a byte of the archive
    depth: int  # folders


@dataclass
class Budget:
    """What an archive has used of its limits."""

    place: Path
    limits: Limits
    packed: int = field(init=False)  # bytes
    bytes: int = 0
    entries: int = 0

    def __post_init__(self) -> None:
        self.packed = max(self.place.stat().st_size, 1)

    def spend(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.limits.bytes:
            raise self._over(f"more than {self.limits.bytes:,} bytes unpacked", "max_bytes")
        if self.bytes > RATIO_FROM and self.bytes > self.limits.ratio * self.packed:
            raise self._over(f"more than {self.limits.ratio:g} bytes unpacked a byte of archive", "max_ratio")

    def enter(self, count: int = 1) -> None:
        self.entries += count
        if self.entries > self.limits.entries:
            raise self._over(f"more than {self.limits.entries:,} files and folders", "max_entries")

    def _over(self, found: str, setting: str) -> DataError:
        return DataError(f"{self.place}: found {found}; expected no bomb; where it is none, raise source.{setting}")


def decoded(raw: bytes, place: Path, names: Names | None) -> str:
    """A name of which the archive does not say the encoding; None is utf-8 where that is beyond doubt.

    Raises: NamesError.
    """
    try:
        name = raw.decode(names or "utf-8")
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", "backslashreplace")[:100]
        raise NamesError(
            f"{place}: found file names that are not {names or 'utf-8'} (first: {shown}); expected one encoding; "
            "set source.names: gb18030 (as Chinese Windows writes), big5 or cp437"
        ) from None
    if names is None and (other := _also_chinese(raw, name)):
        raise NamesError(
            f"{place}: found file names of utf-8 or of gb18030 (first: {name[:50]} or {other[:50]}); expected one of "
            "the two; say which with source.names"
        )
    return name


def _also_chinese(raw: bytes, name: str) -> str | None:
    """The name in gb18030, if it may be that as well: every pair of bytes a common Chinese character, none a rare one.

    Such as 联通 and 图片, whose bytes are valid utf-8.
    """
    if name.isascii() or max(name) > "\u07ff":  # a Chinese character takes three bytes in utf-8
        return None
    try:
        other = raw.decode("gb18030")
    except UnicodeDecodeError:
        return None
    return other if all(c.isascii() or "\u4e00" <= c <= "\u9fff" for c in other) else None


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turns every way in which a decoder says that its input is broken into one error."""
    try:
        yield
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{path}: found {error}; expected an archive that Python's zipfile reads; repack it") from None
    except (*FAULTS, RecursionError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek to nowhere
            raise  # the disk's fault, not the archive's
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: found an archive that is cut off or broken ({line}); get it again") from None
