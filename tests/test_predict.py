"""What `danlu predict` reads; its answers are tested with the registry."""

from pathlib import Path

import pytest

from pipeline import predict
from pipeline.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_file_of_texts_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("质量很好\r\n\n 价格\u2028不错 \n".encode(encoding))
    assert predict._texts([str(path), "一句话"])[1] == ["质量很好", "价格\u2028不错", "一句话"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("好\n".encode() + b"\xff\xff\n")
    with pytest.raises(DataError, match=r"a\.txt:2: found bytes that are not utf-8"):
        predict._texts([str(tmp_path / "a.txt")])
