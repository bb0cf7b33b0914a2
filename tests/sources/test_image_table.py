import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.examples import Example
from pipeline.sources import image_table


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def read(root: Path, **settings: Any) -> dict[str, Example]:
    examples = list(image_table.read(config.parse(image_table.Config, {"path": str(root), **settings}, "source")))
    found = {example.id: example for example in examples}
    assert len(found) == len(examples)
    return found


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_columns_are_used_as_named_in_every_format(tmp_path: Path, form: str) -> None:
    put(tmp_path, "a/1.png", "a/2.png")
    rows = [
        {"file": "a/1.png", "kind": "cat", "patient": "p1", "part": "train"},
        {"file": "./a\\2.png", "kind": "dog", "patient": "p2", "part": "dev"},
    ]
    path = tmp_path / f"t.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "jsonl":
        path.write_text("".join(f"{row}\n".replace("'", '"') for row in rows))
    else:
        between = "," if form == "csv" else "\t"
        path.write_text("\n".join(between.join(row) for row in [rows[0].keys(), *(row.values() for row in rows)]))
    settings = {"path_column": "file", "label_column": "kind", "group_column": "patient", "split_column": "part"}
    found = read(tmp_path, table=path.name, **settings)
    assert {e.id: (e.label, e.group, e.split) for e in found.values()} == {
        "a/1.png": ("cat", "p1", "train"),
        "a/2.png": ("dog", "p2", "validation"),
    }
    assert Path(str(found["a/2.png"].content)).read_bytes() == b"a/2.png"


def test_every_row_that_cannot_be_used_is_refused_with_its_reason(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(tmp_path, "out.png", "root/1.png", "root/folder/x")
    (root / "away.png").symlink_to("../out.png")
    (root / "near.png").symlink_to("1.png")
    os.mkfifo(root / "pipe.png")
    names = ["1.png", "../out.png", "/etc/passwd", "away.png", "near.png", "nothing.png", "folder", "pipe.png", "", "."]
    rows = "".join(f"{name},c,train\n" for name in names)
    (root / "labels.csv").write_text(f"path,label,split\n{rows}1.png,,train\nfolder/x,c,extra\n" + "x" * 300 + ",c,\n")
    found = {key: example.refused for key, example in read(root, split_column="split").items()}
    assert found == {
        "1.png": None,
        "../out.png": "a path out of the folder",
        "etc/passwd": "a path out of the folder",
        "away.png": "a link out of the folder",
        "near.png": None,
        "nothing.png": "no such file",
        "folder": "no regular file",
        "pipe.png": "no regular file",
        "labels.csv:10": "no path (column 'path')",
        ".": "a path out of the folder",
        "1.png#labels.csv:12": "no label (column 'label')",
        "folder/x": "split 'extra', which is none of train, val, valid, validation, dev, test",
        "x" * 300: "unreadable: File name too long",
    }


def test_one_image_in_two_rows_stays_twice_for_validation_to_judge(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text("path,label\n1.png,a\n1.png,b\n")
    found = read(tmp_path)
    assert {e.id: (e.label, e.path) for e in found.values()} == {
        "1.png": ("a", "1.png"),
        "1.png#labels.csv:3": ("b", "1.png"),
    }


def test_images_that_the_table_does_not_name_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png", "3.png", "notes.txt")
    (tmp_path / "labels.csv").write_text("path,label\n1.png,a\n")
    assert read(tmp_path)[image_table.UNNAMED].refused == "2 images that labels.csv does not name (first: 2.png)"


def test_columns_of_probabilities_are_soft_labels(tmp_path: Path) -> None:
    put(tmp_path, *(f"{k}.png" for k in range(6)))
    rows = ["0.png,.75,.25", "1.png,1,0", "2.png,.5,.6", "3.png,nan,1", "4.png,x,1", "5.png,-1,2"]
    (tmp_path / "labels.csv").write_text("path,ok,bad\n" + "\n".join(rows))
    found = read(tmp_path, label_column=None, probability_columns=["ok", "bad"])
    assert [(e.label, e.probabilities, e.refused) for e in found.values()] == [
        ("ok", {"ok": 0.75, "bad": 0.25}, None),
        ("ok", {"ok": 1.0, "bad": 0.0}, None),
        (None, None, "probabilities that sum to 1.1"),
        (None, None, "a probability outside 0 to 1 ({'ok': nan, 'bad': 1.0})"),
        (None, None, "probability 'x' (column 'ok')"),
        (None, None, "a probability outside 0 to 1 ({'ok': -1.0, 'bad': 2.0})"),
    ]


def test_a_missing_table_or_column_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("file,label\n1.png,a\n")
    with pytest.raises(DataError, match=r"found no table labels\.csv \(no such file\); set source\.table; one of rows"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"no column 'path'; set path_column; one of file, label"):
        read(tmp_path, table="rows.csv")
    with pytest.raises(DataError, match="found no folder"):
        read(tmp_path / "rows.csv")


@pytest.mark.parametrize("settings", [{"table": "../x.csv"}, {"label_column": None}, {"table": "/etc/passwd"}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"source\.(table|label_column): found"):
        config.parse(image_table.Config, {"path": "x", **settings}, "source")
