from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import text_files


def read(root: Path, encoding: str = "utf-8") -> list[Example]:
    return list(text_files.read(text_files.Config(str(root), encoding)))  # type: ignore[arg-type]


def test_one_file_a_class_and_one_text_a_line(tmp_path: Path) -> None:
    (tmp_path / "好.txt").write_bytes("\ufeff很好\r\n不错\n\n".encode())
    (tmp_path / "差.TXT").write_bytes("一\u2028二\r三\n末行".encode())
    found = {example.id: (example.label, example.text) for example in read(tmp_path)}
    assert found == {
        "好.txt:1": ("好", "很好"),
        "好.txt:2": ("好", "不错"),
        "好.txt:3": ("好", ""),
        "差.TXT:1": ("差", "一\u2028二\r三"),
        "差.TXT:2": ("差", "末行"),
    }


def test_the_users_own_split_and_what_is_no_classs_file(tmp_path: Path) -> None:
    for name in ("train/a.txt", "val/a.txt", "test/b.txt", "train/deep/c.txt", "train/d.md", "top.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("字\n", "utf-8")
    (tmp_path / "train/empty.txt").touch()
    found = {example.id: (example.split, example.refused) for example in read(tmp_path)}
    assert found == {
        "train/a.txt:1": ("train", None),
        "val/a.txt:1": ("validation", None),
        "test/b.txt:1": ("test", None),
        "train/d.md": ("train", "not a text file (suffix: .md)"),
        "train/deep/c.txt": ("train", "not directly in a split's folder"),
        "train/empty.txt": ("train", "class without an example"),
        "top.txt": (None, "not directly in a split's folder"),
    }


def test_what_does_not_decode_is_flagged_and_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("好\n".encode() + "好\n".encode("gb18030"))
    good, bad = read(tmp_path)
    assert (good.encoding_ok, bad.encoding_ok) == (True, False)
    assert bad.content == "好".encode("gb18030") and "\ufffd" in str(bad.text)


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "utf-32"])
def test_other_encodings_are_read_as_declared(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("好\n品質".encode(encoding))
    assert [(example.text, example.encoding_ok) for example in read(tmp_path, encoding)] == [
        ("好", True),
        ("品質", True),
    ]


def test_every_file_has_its_own_encoding_unless_one_is_declared(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("质量很好\n".encode("gb18030"))
    (tmp_path / "b.txt").write_bytes("质量很好\n".encode("utf-16"))
    (tmp_path / "c.txt").write_bytes("质量很好\n".encode())
    assert [(example.text, example.encoding_ok) for example in read(tmp_path, "auto")] == [("质量很好", True)] * 3
    config = text_files.Config(str(tmp_path))
    assert text_files.describe(config)["encoding"] == "gb18030: 1 file, utf-16: 1 file, utf-8: 1 file"


@pytest.mark.parametrize("mark", ["utf-16", "utf-32"])
def test_a_wide_file_named_as_utf8_is_an_error_with_the_way_out(tmp_path: Path, mark: str) -> None:
    (tmp_path / "a.txt").write_bytes("好\n".encode(mark))
    with pytest.raises(DataError, match=f"found a {mark} byte-order mark; expected utf-8; "):
        read(tmp_path)
