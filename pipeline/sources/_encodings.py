"""Finds out a text file's encoding: the declared one, else by byte-order mark, strict utf-8, strict gb18030.

Each holds for the whole file, and nothing else is ever guessed: big5 is read where it is declared. Nearly any text of
East Asia decodes as gb18030, into characters that are rare; a file of such that reads better in another encoding is an
error, and one that reads badly in all is a warning. `danlu init` writes down what it found.
"""

import codecs
import functools
import logging
import re
import typing
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigError, DataError
from pipeline.sources import _lines
from pipeline.sources._frequent import FREQUENT
from pipeline.sources._lines import Encoding

log = logging.getLogger(__name__)
Declared = Literal["auto", "utf-8", "gb18030", "big5", "utf-16", "utf-32"]

UTF8_ALWAYS = (".parquet", ".pq")
SAMPLE = 1 << 14  # letters judged
BLOCK = 1 << 16  # bytes decoded at a time
MOSTLY = 0.9  # of the lines decode
# Measured on pieces of 30 to 2,000 letters. In gb18030: of 3,760 of reviews, news and programs' messages 1 came to the
# warning; of 3,760 of names and dictionaries 58 did, and 24 to the error. Of 6,580 in a rival's encoding 2 passed.
CHINESE = 0.5  # of a text's letters are frequent ones: beyond doubt
FOREIGN = 0.15  # fewer: hardly Chinese
MARGIN = 0.2  # by which a rival has to read better
LETTER = re.compile(  # all but ASCII, marks, symbols, full-width forms and emoji
    r"[^\x00-\xbf\xd7\xf7\u2000-\u2bff\u3000-\u303f\u3200-\u33ff\ufe00-\ufe6f\uff01-\uff5e\uffe0-\uffee\U0001f000-\U0001faff]"
)


@dataclass(frozen=True)
class Rival:
    """An encoding whose texts decode as gb18030 too."""

    name: str
    codecs: tuple[str, ...]  # the standard's, and its extensions by vendors
    own: frozenset[str]  # the letters that make up a text in it
    least: float  # of its letters, 0..1


KANA = frozenset(map(chr, range(0x3041, 0x3100)))
HANGUL = frozenset(map(chr, range(0xAC00, 0xD7A4)))
RIVALS = (
    Rival("big5", _lines.BIG5, FREQUENT, 0.4),
    Rival("euc-jp", ("euc_jp",), KANA, 0.2),
    Rival("shift-jis", ("cp932",), KANA, 0.2),
    Rival("euc-kr", ("cp949",), HANGUL, 0.9),  # the last: shift-jis may read as its rare syllables
)


def of(path: Path, declared: Declared) -> Encoding:
    """The encoding to read a file in: the declared one, for `auto` the one that is found, utf-8 where none fits.

    Rows that do not decode are flagged by who reads. Raises: DataError for a file of gb18030 or of another encoding.
    """
    if declared != "auto":
        return declared
    if path.suffix.lower() in UTF8_ALWAYS:
        return "utf-8"
    status = path.stat()
    return _found(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=100_000)
def _found(path: Path, size: int, changed: int) -> Encoding:
    encoding, remark = _strict(path)
    if remark:
        log.warning("%s", remark)
    if encoding is None:
        log.warning(
            "%s: text of neither utf-8 nor gb18030 throughout; read as utf-8, what does not decode is flagged; set "
            "source.encoding if it is in another",
            path,
        )
    elif encoding != "utf-8" and not remark:
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

    Likewise big5 for Windows' and Hong Kong's extensions of it.

    Raises: ConfigError.
    """
    known = {codecs.lookup(name).name: name for name in typing.get_args(Encoding)}
    known |= dict.fromkeys(("gb2312", "gbk"), "gb18030")
    known |= dict.fromkeys(_lines.BIG5, "big5")
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
    encoding, remark = _strict(path)
    return (encoding, remark) if encoding else _nearly_utf8(path)


def _strict(path: Path) -> tuple[Encoding | None, str]:
    """By byte-order mark, else utf-8 or gb18030 if the whole file decodes, read piece by piece; a remark or nothing.

    Raises: DataError for a file of gb18030 or of another encoding.
    """
    with path.open("rb") as file:
        mark = _lines.marked(file.read(4))
    if mark:
        return mark, ""
    if _decodes(path, "utf-8"):
        return "utf-8", ""
    if not _decodes(path, "gb18030") or _utf8_share(path) > MOSTLY:  # pairs of utf-8's bytes may pass for gb18030
        return None, ""
    return "gb18030", _doubt(path)


def _doubt(path: Path) -> str:
    """A remark on a file that decodes as gb18030 but hardly reads as Chinese. Raises: DataError where a rival fits."""
    chinese = _share(path, "gb18030", FREQUENT)
    if chinese >= CHINESE:
        return ""
    for rival in RIVALS:
        codec = next((codec for codec in rival.codecs if _decodes(path, codec)), None)
        if codec and _share(path, codec, rival.own) >= max(rival.least, chinese + MARGIN):
            raise DataError(f"{path}: found bytes of gb18030 or of {rival.name}; {_way_out(rival.name)}")
    if chinese >= FOREIGN:
        return ""
    return (
        f"{path}: read as gb18030, as which it decodes, though few of its characters are common in Chinese; "
        "convert it to utf-8 if it is in another encoding, or set source.encoding: gb18030 (--encoding gb18030)"
    )


def _way_out(rival: str) -> str:
    if rival in typing.get_args(Encoding):
        return f"expected one of the two; say --encoding {rival}, or set source.encoding: {rival} or gb18030"
    return (
        "expected one of the encodings that are read; convert it to utf-8, or set source.encoding: gb18030 "
        "(--encoding gb18030) if it is that"
    )


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


def _share(path: Path, codec: str, own: frozenset[str]) -> float:
    """The share of `own` among the first letters of a text, 0..1; 1 where there is none, as in marks alone."""
    letters = Counter[str]()
    with path.open(encoding=codec, newline="") as file:
        while letters.total() < SAMPLE and (text := file.read(SAMPLE)):
            letters.update({c: count for c, count in Counter(text).items() if LETTER.match(c)})
    return sum(letters[c] for c in letters.keys() & own) / letters.total() if letters else 1.0


def _nearly_utf8(path: Path) -> tuple[Encoding, str]:
    lines = [_lines.decode(raw, "utf-8")[1] for _, raw in _lines.read(path, "utf-8")]
    broken = lines.count(False)
    if broken > len(lines) * (1 - MOSTLY):
        raise DataError(f"{path}: found neither utf-8 nor gb18030; expected one of them; convert it, or say --encoding")
    return (
        "utf-8",
        f"{broken:,} of {len(lines):,} lines of {path.name} are not valid utf-8; validation will refuse them",
    )
