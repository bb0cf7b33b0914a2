from pathlib import Path

import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.sources import _encodings

SIMPLIFIED = "这个产品的质量很好，我们都非常喜欢。\n" * 20
TRADITIONAL = "這個產品的質量很好，我們都非常喜歡。\n" * 20


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (TRADITIONAL, "gb18030", "gb18030"),
        (SIMPLIFIED, "utf-16", "utf-16"),
    ],
)
def test_the_encoding_of_the_whole_file_is_found(tmp_path: Path, text: str, encoding: str, found: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert _encodings.detect(path) == (found, "")


def test_big5_is_not_taken_for_gb18030(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TRADITIONAL.encode("big5"))
    with pytest.raises(DataError, match="--encoding"):
        _encodings.detect(path)


def test_one_broken_line_is_told_and_does_not_decide(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(SIMPLIFIED.encode() + b"\xff\xff\n")
    encoding, remark = _encodings.detect(path)
    assert encoding == "utf-8" and remark.startswith("1 of 21 lines")


def test_neither_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xff\n" * 20)
    with pytest.raises(DataError, match="found neither utf-8 nor gb18030"):
        _encodings.detect(path)


@pytest.mark.parametrize(
    ("word", "found"),
    [("UTF8", "utf-8"), ("GBK", "gb18030"), ("gb2312", "gb18030"), ("Big5", "big5"), ("utf16", "utf-16")],
)
def test_a_user_may_spell_it_as_usual(word: str, found: str) -> None:
    assert _encodings.named(word) == found


@pytest.mark.parametrize("word", ["latin-1", "nonsense", "a\0b"])
def test_an_encoding_that_no_source_reads_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="expected one of utf-8, gb18030, big5, utf-16"):
        _encodings.named(word)
