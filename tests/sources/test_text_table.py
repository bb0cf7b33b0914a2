import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.examples import Example
from pipeline.sources import text_table


def read(path: Path, **settings: Any) -> list[Example]:
    return list(text_table.read(text_table.Config(str(path), **settings)))


def test_columns_are_used_as_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("评论,类别,店,划分\n好, 正 ,s1,train\n差,负,s2,test\n中,负,,\n", "utf-8")
    settings = {"text_column": "评论", "label_column": "类别", "group_column": "店", "split_column": "划分"}
    found = [(e.id, e.text, e.label, e.group, e.split) for e in read(path, **settings)]
    assert found == [
        ("a.csv:2", "好", "正", "s1", "train"),
        ("a.csv:3", "差", "负", "s2", "test"),
        ("a.csv:4", "中", "负", None, None),
    ]


def test_rows_that_cannot_be_used_are_refused_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b"}\n{"label": 0}\n{"text": "c", "label": " "}\n{\n')
    assert [example.refused for example in read(path)] == [
        None,
        "no label (column 'label')",
        "no text (column 'text')",
        "no label (column 'label')",
        "broken JSON: Expecting property name enclosed in double quotes",
    ]


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,split\na,x,train\nb,y,extra\n")
    assert [(e.split, bool(e.refused)) for e in read(path, split_column="split")] == [("train", False), (None, True)]


def test_an_undecodable_label_flags_the_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\na,x\nb,\xff\n")
    assert [example.encoding_ok for example in read(path)] == [True, False]


def test_a_missing_column_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,labels\na,x\n")
    with pytest.raises(
        DataError, match=r"no column 'label' \(did you mean 'labels'\?\); set label_column; one of text, labels"
    ):
        read(path)


def test_names_of_columns_in_another_encoding_than_the_declared_are_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("评论,标签\n好,正\n", "gb18030")
    with pytest.raises(DataError, match=r"'评论', and names .* the encoding lacks .*; correct source\.encoding"):
        read(tmp_path / "a.csv", encoding="utf-8", text_column="评论", label_column="标签")


def test_a_folder_of_tables_is_the_users_split(tmp_path: Path) -> None:
    for name in ("train.tsv", "extra.tsv"):
        (tmp_path / name).write_text("text\tlabel\na\tx\n")
    with pytest.raises(DataError, match=r"found extra\.tsv; expected tables named train, val and test"):
        read(tmp_path)
    (tmp_path / "extra.tsv").rename(tmp_path / "val.tsv")
    assert [(e.id, e.split) for e in read(tmp_path)] == [("train.tsv:2", "train"), ("val.tsv:2", "validation")]


@pytest.mark.parametrize("encoding", ["auto", "utf-8"])
def test_what_is_no_regular_file_is_an_error_and_never_opened(tmp_path: Path, encoding: str) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("pipe.csv", "nothing.csv"):
        with pytest.raises(DataError, match=r"found no regular file; expected a table"):
            read(tmp_path / name, encoding=encoding)


def test_one_column_for_both_is_refused() -> None:
    with pytest.raises(ConfigError, match="label_column: found 'text', which is the text column"):
        config.parse(text_table.Config, {"path": "a.csv", "label_column": "text"}, "source")


def test_an_unknown_suffix_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"found the suffix \.xlsx; expected \.csv"):
        read(tmp_path / "a.xlsx")
