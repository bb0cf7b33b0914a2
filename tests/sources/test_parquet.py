import datetime
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import text_table


def read(path: Path, **settings: Any) -> list[Example]:
    return list(text_table.read(text_table.Config(str(path), **settings)))


def write(path: Path, rows: pa.Table, **settings: Any) -> Path:
    pq.write_table(rows, path, **settings)
    return path


def test_rows_are_numbered_from_1_and_columns_used_as_named(tmp_path: Path) -> None:
    table = pa.table({"t": ["好", "差", None, ""], "l": [1, 0, 1, 0], "g": ["a", None, "b", "b"]})
    found = read(write(tmp_path / "a.parquet", table), text_column="t", label_column="l", group_column="g")
    assert [(e.id, e.text, e.label, e.group, e.refused) for e in found] == [
        ("a.parquet:1", "好", "1", "a", None),
        ("a.parquet:2", "差", "0", None, None),
        ("a.parquet:3", None, "1", "b", "no text (column 't')"),
        ("a.parquet:4", "", "0", "b", None),
    ]
    assert found[0].content == "好".encode()


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array(["x", "y"], pa.large_string()), ["x", "y"]),
        (pa.array([True, False]), ["True", "False"]),
        (pa.array([0.5, 2.0]), ["0.5", "2.0"]),
        (pa.array([datetime.date(2026, 1, 2), None]), ["2026-01-02", None]),
        (pa.array([["a"], []]), ['["a"]', "[]"]),
    ],
)
def test_labels_of_any_type_become_text(tmp_path: Path, column: pa.Array, labels: list[str]) -> None:
    table = pa.table({"text": ["a", "b"], "label": column})
    assert [example.label for example in read(write(tmp_path / "a.parquet", table))] == labels


def test_bytes_are_in_the_declared_encoding_and_broken_ones_flagged(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["好".encode("gb18030"), b"\xff\xff"], pa.binary()), "label": ["a", "b"]})
    found = read(write(tmp_path / "a.parquet", table), encoding="gb18030")
    assert [(e.text, e.encoding_ok) for e in found] == [("好", True), ("\ufffd\ufffd", False)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_bytes_in_a_wide_encoding_are_read(tmp_path: Path, encoding: Any) -> None:
    content = ["很好".encode(encoding), "坏".encode(encoding)[:-1]]
    table = pa.table({"text": pa.array(content, pa.binary()), "label": ["a", "b"]})
    found = read(write(tmp_path / "a.parquet", table), encoding=encoding)
    assert [(e.text, e.encoding_ok) for e in found] == [("很好", True), ("\ufffd", False)]


def test_a_number_that_is_none_is_no_label_and_no_class(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", "c"], "label": pa.array([1.0, float("nan"), None])})
    found = read(write(tmp_path / "a.parquet", table))
    assert [(e.label, e.refused) for e in found] == [("1.0", None), *[(None, "no label (column 'label')")] * 2]


def test_text_that_is_no_utf8_is_flagged_and_stops_nothing(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"], pa.binary()).buffers())
    found = read(write(tmp_path / "a.parquet", pa.table({"text": broken, "label": ["a", "b"]})))
    assert [(e.text, e.encoding_ok) for e in found] == [("\ufffd", False), ("ok", True)]


def test_a_cut_or_foreign_file_is_an_error(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", pa.table({"text": ["a"] * 1000, "label": ["x"] * 1000})).read_bytes()
    for content in (b"", b"text,label\n", whole[:-9], whole[:50] + whole[80:]):
        (tmp_path / "b.parquet").write_bytes(content)
        with pytest.raises(DataError, match="found no whole Parquet file"):
            read(tmp_path / "b.parquet")


def test_mutated_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    choice = random.Random(1)
    rows = pa.table({"text": [f"好{k}" for k in range(400)], "label": ["a", "b"] * 200, "l": [[1, 2]] * 400})
    whole = write(tmp_path / "a.parquet", rows, row_group_size=100).read_bytes()
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(choice.randint(1, 6)):
            content[choice.randrange(len(content))] = choice.randrange(256)
        (tmp_path / "b.parquet").write_bytes(content)
        try:
            read(tmp_path / "b.parquet")
        except DataError:
            refused += 1
    assert 0 < refused < 150


def test_no_row_and_a_missing_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no row"):
        read(
            write(
                tmp_path / "a.parquet",
                pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}),
            )
        )
    with pytest.raises(DataError, match="no column 'label'"):
        read(write(tmp_path / "b.parquet", pa.table({"text": ["a"]})))


def test_a_folder_of_parquet_is_the_users_split(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.parquet", pa.table({"text": ["a"], "label": ["x"]}))
    assert [(e.id, e.split) for e in read(tmp_path)] == [("test.parquet:1", "test"), ("train.parquet:1", "train")]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for rows in (2_000, 16_000):
        table = pa.table({"text": [f"{k} " + "字" * 100 for k in range(rows)], "label": ["x"] * rows})
        path = write(tmp_path / f"{rows}.parquet", table, row_group_size=1_000)
        del table
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        most = 0
        for number, _ in enumerate(text_table.read(text_table.Config(str(path)))):
            if number % 500 == 0:
                most = max(most, pa.total_allocated_bytes() - before)
        peaks.append(tracemalloc.get_traced_memory()[1] + most)
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
