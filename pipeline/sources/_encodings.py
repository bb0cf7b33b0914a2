"""Finds out a text file's encoding, for `danlu init`, which writes it down; nothing else ever guesses."""

import codecs
import typing
from pathlib import Path

from pipeline.errors import ConfigError, DataError
from pipeline.sources import _lines
from pipeline.sources._lines import Encoding

# Lead bytes of the Chinese characters that make up nearly all of a real text in that encoding.
COMMON_LEADS = {"gb18030": range(0xB0, 0xD8), "big5": range(0xA4, 0xC7)}
SAMPLE = 1 << 16  # characters judged
MOSTLY = 0.9  # of the lines decode, or of the characters are common


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
    """The encoding in which the whole file decodes, utf-8 tried before gb18030, and a remark to the user or nothing.

    Raises: DataError when there is none, or when two are as likely.
    """
    with path.open("rb") as file:
        mark = _lines.marked(file.read(4))
    if mark == "utf-16":
        return "utf-16", ""
    if _decodes(path, "utf-8"):
        return "utf-8", ""
    if _decodes(path, "gb18030"):
        if _decodes(path, "big5") and _common(path, "gb18030") < MOSTLY <= _common(path, "big5"):
            raise DataError(f"{path}: found bytes of gb18030 or of big5; expected one of the two; say --encoding big5")
        return "gb18030", ""
    return _nearly_utf8(path)


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _common(path: Path, encoding: str) -> float:
    """The share of common ones among the Chinese characters of a text, 0..1."""
    with path.open(encoding=encoding, newline="") as file:
        text = file.read(SAMPLE)
    leads = [c.encode(encoding)[0] for c in text if "\u3400" <= c <= "\u9fff"]
    return sum(lead in COMMON_LEADS[encoding] for lead in leads) / max(len(leads), 1)


def _nearly_utf8(path: Path) -> tuple[Encoding, str]:
    lines = [_lines.decode(raw, "utf-8")[1] for _, raw in _lines.read(path, "utf-8")]
    broken = lines.count(False)
    if broken > len(lines) * (1 - MOSTLY):
        raise DataError(f"{path}: found neither utf-8 nor gb18030; expected one of them; convert it, or say --encoding")
    return (
        "utf-8",
        f"{broken:,} of {len(lines):,} lines of {path.name} are not valid utf-8; validation will refuse them",
    )
