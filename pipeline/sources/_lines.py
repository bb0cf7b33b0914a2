"""Lines of text files as they stand in the file, and their decoding.

A line ends at `\\n` alone: U+2028, a lone `\\r` and their like are part of a text.
"""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from pipeline.errors import DataError

# In each of the first three no byte of a longer character equals `\n`, a tab, a comma or a quote, so that a file is cut
# into cells first and each cell decoded by itself; the wide ones are turned into utf-8 line by line.
Encoding = Literal["utf-8", "gb18030", "big5", "utf-16", "utf-32"]
GB18030_MARK = b"\x84\x31\x95\x33"
WIDE = ("utf-16", "utf-32")
BIG5 = ("big5", "cp950", "big5hkscs")  # the standard, and what Windows and Hong Kong add, such as 裏 and 嘅
BYTE_ORDER_MARKS: dict[bytes, Encoding] = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    GB18030_MARK: "gb18030",
}


def marked(start: bytes) -> Encoding | None:
    """The encoding whose byte-order mark a file starts with, if any."""
    return next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)


def read(path: Path, encoding: Encoding) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1 and the undecoded lines, ends and byte-order mark removed; those of wide files in utf-8.

    Raises: DataError when the file is in another, wide encoding.
    """
    with path.open("rb") as file:
        mark = marked(file.read(4))
        file.seek(0)
        if mark in WIDE and mark != encoding:
            raise DataError(
                f"{path}: found a {mark} byte-order mark; expected {encoding}; set source.encoding: {mark}, or auto"
            )
        for number, line in enumerate(_as_utf8(file, encoding) if encoding in WIDE else file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8).removeprefix(GB18030_MARK)
            yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _as_utf8(file: BinaryIO, encoding: Encoding) -> Iterator[bytes]:
    # A cut or lone surrogate becomes U+FFFD, which `decode` takes for a fault.
    with io.TextIOWrapper(file, encoding, "replace", newline="\n") as text:
        for line in text:
            yield line.encode("utf-8")


def decode(raw: bytes, encoding: Encoding) -> tuple[str, bool]:
    """The text, what is undecodable replaced by U+FFFD, and whether all was decodable."""
    if encoding in WIDE:
        text = raw.decode("utf-8")
        return text, "\ufffd" not in text
    for codec in BIG5 if encoding == "big5" else (encoding,):
        try:
            return raw.decode(codec), True
        except UnicodeDecodeError:
            pass
    return raw.decode(encoding, "replace"), False
