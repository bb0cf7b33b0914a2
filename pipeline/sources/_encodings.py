"""Finds out a text file's encoding: the declared one, else by byte-order mark, strict utf-8, strict gb18030.

Each holds for the whole file, and nothing else is ever guessed: big5 is read where it is declared, and a file that
could be either is an error. `danlu init` writes down what it found.
"""

import codecs
import functools
import logging
import typing
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigError, DataError
from pipeline.sources import _lines
from pipeline.sources._lines import Encoding

log = logging.getLogger(__name__)
Declared = Literal["auto", "utf-8", "gb18030", "big5", "utf-16", "utf-32"]

UTF8_ALWAYS = (".parquet", ".pq")
# Lead and least second bytes of the Chinese characters that make up nearly all of a real text in that encoding.
COMMON = {"gb18030": (range(0xB0, 0xD8), 0xA1), "big5": (range(0xA4, 0xC7), 0x40)}
SAMPLE = 1 << 14  # characters judged
BLOCK = 1 << 16  # bytes decoded at a time
MOSTLY = 0.9  # of the lines decode, or of the characters are common


def of(path: Path, declared: Declared) -> Encoding:
    """The encoding to read a file in: the declared one, for `auto` the one that is found, utf-8 where none fits.

    Rows that do not decode are flagged by who reads. Raises: DataError for a file of gb18030 or of big5.
    """
    if declared != "auto":
        return declared
    if path.suffix.lower() in UTF8_ALWAYS:
        return "utf-8"
    status = path.stat()
    return _found(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=100_000)
def _found(path: Path, size: int, changed: int) -> Encoding:
    encoding = _strict(path)
    if encoding is None:
        log.warning(
            "%s: text of neither utf-8 nor gb18030 throughout; read as utf-8, what does not decode is flagged; set "
            "source.encoding if it is in another",
            path,
        )
    elif encoding != "utf-8":
        log.info("%s: read as %s", path, encoding)
    return encoding or "utf-8"


def used(paths: Iterable[Path], declared: Declared) -> str:
    """The encodings that the files are read in, in words: `gb18030`, or `utf-8: 3 files, gb18030: 1 file`."""
    counted = Counter(of(path, declared) for path in paths)
    if len(counted) < 2:
        return next(iter(counted), "utf-8")
    return ", ".join(f"{name}: {count} {'file' if count == 1 else 'files'}" for name, count in counted.most_common())


def named(word: str) -> Encoding:
    """The encoding that a user calls so, in any usual spelling; gb18030 for its subsets gb2312 and gbk.

    Raises: ConfigError.
    """
    known = {codecs.lookup(name).name: name for name in typing.get_args(Encoding)}
    known |= dict.fromkeys(("gb2312", "gbk"), "gb18030")
    try:
        return known[codecs.lookup(word).name]
    except (LookupError, ValueError):
        raise ConfigError(
            f"--encoding: found {word!r}; expected one of {', '.join(typing.get_args(Encoding))}"
        ) from None


def detect(path: Path) -> tuple[Encoding, str]:
    """The encoding in which the whole file decodes, and a remark to the user or nothing.

    Raises: DataError when there is none, or when two are as likely.
    """
    encoding = _strict(path)
    return (encoding, "") if encoding else _nearly_utf8(path)


def _strict(path: Path) -> Encoding | None:
    """By byte-order mark, else utf-8 or gb18030 if the whole file decodes, read piece by piece.

    Raises: DataError for a file of gb18030 or of big5.
    """
    with path.open("rb") as file:
        mark = _lines.marked(file.read(4))
    if mark:
        return mark
    if _decodes(path, "utf-8"):
        return "utf-8"
    if not _decodes(path, "gb18030") or _utf8_share(path) > MOSTLY:  # pairs of utf-8's bytes may pass for gb18030
        return None
    if _decodes(path, "big5") and _common(path, "gb18030") < MOSTLY <= _common(path, "big5"):
        raise DataError(
            f"{path}: found bytes of gb18030 or of big5; expected one of the two; say --encoding big5, or set "
            "source.encoding: big5 or gb18030"
        )
    return "gb18030"


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _utf8_share(path: Path) -> float:
    """The share of lines that are valid utf-8 among those that are not ASCII alone, 0..1."""
    counted = Counter(_lines.decode(raw, "utf-8")[1] for _, raw in _lines.read(path, "utf-8") if not raw.isascii())
    return counted[True] / max(counted.total(), 1)


def _common(path: Path, encoding: str) -> float:
    """The share of common ones among the Chinese characters of a text, 0..1."""
    with path.open(encoding=encoding, newline="") as file:
        text = file.read(SAMPLE)
    codes = [c.encode(encoding) for c in text if "\u3400" <= c <= "\u9fff"]
    leads, least = COMMON[encoding]
    return sum(code[0] in leads and code[1] >= least for code in codes) / max(len(codes), 1)


def _nearly_utf8(path: Path) -> tuple[Encoding, str]:
    lines = [_lines.decode(raw, "utf-8")[1] for _, raw in _lines.read(path, "utf-8")]
    broken = lines.count(False)
    if broken > len(lines) * (1 - MOSTLY):
        raise DataError(f"{path}: found neither utf-8 nor gb18030; expected one of them; convert it, or say --encoding")
    return (
        "utf-8",
        f"{broken:,} of {len(lines):,} lines of {path.name} are not valid utf-8; validation will refuse them",
    )
