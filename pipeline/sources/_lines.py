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
# into cells first and each cell decoded by itself; utf-16 is turned into utf-8 as a whole.
Encoding = Literal["utf-8", "gb18030", "big5", "utf-16"]
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def marked(start: bytes) -> str | None:
    """The wide encoding whose byte-order mark a file starts with, if any."""
    return next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)


def read(path: Path, encoding: Encoding) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1 and the undecoded lines, ends removed.

    Raises: DataError when the file is in another, wide encoding.
    """
    with path.open("rb") as file:
        mark = marked(file.read(4))
        file.seek(0)
        if mark and mark != encoding:
            raise DataError(f"{path}: found a {mark} byte-order mark; expected {encoding}; {_way_out(mark)}")
        lines = _as_utf8(file) if encoding == "utf-16" else file
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _way_out(mark: str) -> str:
    return "set source.encoding: utf-16" if mark == "utf-16" else "save it as utf-8"


def _as_utf8(file: BinaryIO) -> BinaryIO:
    # A cut or lone surrogate becomes U+FFFD, which `decode` takes for a fault.
    return io.BytesIO(file.read().decode("utf-16", "replace").encode("utf-8"))


def decode(raw: bytes, encoding: Encoding) -> tuple[str, bool]:
    """The text, what is undecodable replaced by U+FFFD, and whether all was decodable."""
    if encoding == "utf-16":
        text = raw.decode("utf-8")
        return text, "\ufffd" not in text
    try:
        return raw.decode(encoding), True
    except UnicodeDecodeError:
        return raw.decode(encoding, "replace"), False
