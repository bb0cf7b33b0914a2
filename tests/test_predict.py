"""What `danlu predict` reads; its answers are tested with the registry."""

from pathlib import Path

import pytest

from pipeline import predict
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.sources import text_table


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_file_of_texts_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("质量很好\r\n\n 价格\u2028不错 \n".encode(encoding))
    assert predict._texts([str(path), "一句话"])[1] == ["质量很好", "价格\u2028不错", "一句话"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("好\n".encode() + b"\xff\xff\n")
    with pytest.raises(DataError, match=r"a\.txt:2: found bytes that are not utf-8"):
        predict._texts([str(tmp_path / "a.txt")])


TABLE = text_table.Config("data/a.csv", text_column="评论", label_column="类别", encoding="gb18030")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", '类别,评论\n好,质量很好\n坏,"贵, 差"\n,\n'),
        ("a.tsv", "类别\t评论\n好\t质量很好\n坏\t贵, 差\n"),
        ("a.jsonl", '{"评论": "质量很好", "类别": "好"}\n\n{"评论": "贵, 差"}\n'),
    ],
)
def test_a_table_is_read_by_the_column_of_the_tasks_source(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    assert predict._texts([str(tmp_path / name)], TABLE)[1] == ["质量很好", "贵, 差"]


@pytest.mark.parametrize(
    ("content", "asked", "words"),
    [
        ("评论\n好\n", None, r"a\.csv: found a table, where .* names no column of texts; .*save the column as \.txt"),
        ("类别,文本\n好,很好\n", TABLE, r"found no column '评论', which source\.text_column names, but 类别, 文本"),
        ("类别,评论\n好\n", TABLE, r"a\.csv:2: found 1 columns where the first line has 2"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, content: str, asked: text_table.Config, words: str
):
    (tmp_path / "a.csv").write_text(content, "utf-8")
    with pytest.raises(DataError, match=words):
        predict._texts([str(tmp_path / "a.csv")], asked)


@pytest.mark.parametrize("inside", [False, True])
def test_the_columns_are_those_of_the_source_or_of_its_layout(inside: bool) -> None:
    table = {"name": "text_table", "text_column": "评论"}
    source = {"name": "delivery", "path": "a.zip", "layout": table} if inside else table | {"path": "a.csv"}
    found = predict._table(Task("t", "text", {"source": source}))
    assert found is not None and found.text_column == "评论"
    assert predict._table(Task("t", "text", {"source": {"name": "text_files", "path": "a"}})) is None
