import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import config, fetch, parts
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError
from pipeline.examples import Example

EMPTY = {name: {} for name in config.SECTIONS}


def run(kind: str, **source: Any) -> tuple[list[dict[str, Any]], dict[str, Any], Path]:
    """Fetches in the current folder: the manifest's rows, source.json and the output folder."""
    fetch.main(Task("pets", kind, {**EMPTY, "kind": kind, "source": source}))
    out = Path("data/raw/pets")
    rows = [row for path in parts.files(out / "manifest") for row in pq.read_table(path).to_pylist()]
    return rows, json.loads((out / "source.json").read_text("utf-8")), out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode())


def test_images_are_copied_with_the_hash_of_their_bytes(here: Path) -> None:
    put("pets/cats/a\nb.PNG", "pets/dogs/2.jpg", "pets/dogs/x.txt")
    rows, source, out = run("image", name="image_folder", path="pets")
    kept = [row for row in rows if not row["refused"]]
    assert [row["id"] for row in kept] == ["cats/a\nb.PNG", "dogs/2.jpg"]
    for row in kept:
        content = (out / "files" / row["path"]).read_bytes()
        assert content == Path("pets", row["id"]).read_bytes()
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert [row["refused"] for row in rows if row["refused"]] == ["not named as an image (suffix: .txt)"]
    listed = "".join(f"{row['sha256']}  {row['id']}\n" for row in kept)
    assert source == {
        "source": "image_folder",
        "licence": "the user's own",
        "origin": "pets",
        "version": "",
        "rows": 3,
        "sha256": hashlib.sha256(listed.encode()).hexdigest(),
    }


def test_texts_keep_their_bytes_hash_and_what_did_not_decode(here: Path) -> None:
    Path("t.csv").write_bytes("text,label\n好,p\n".encode() + b"\xff,n\nno label,\n")
    rows, source, out = run("text", name="text_table", path="t.csv")
    assert [(row["id"], row["path"], row["text"], row["encoding_ok"], bool(row["refused"])) for row in rows] == [
        ("t.csv:2", "t.csv", "好", True, False),
        ("t.csv:3", "t.csv", "\ufffd", False, False),
        ("t.csv:4", "t.csv", "", True, True),
    ]
    assert rows[0]["sha256"] == hashlib.sha256("好".encode()).hexdigest() and rows[0]["bytes"] == 3
    assert source["rows"] == 3
    assert [row["raw"] for row in rows] == [None, b"\xff", None] and not (out / "files").exists()


def test_images_that_the_source_makes_are_written(here: Path) -> None:
    Path("d").mkdir()
    for part in ("train", "t10k"):
        head = [bytes([0, 0, 8, 3]), *(n.to_bytes(4, "big") for n in (2, 3, 3))]
        Path("d", f"{part}-images-idx3-ubyte").write_bytes(b"".join(head) + bytes(range(18)))
        Path("d", f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
    rows, source, out = run("image", name="torchvision", dataset="mnist", path="d")
    assert [(row["id"], row["path"], row["label"], row["split"]) for row in rows][:3:2] == [
        ("train/00000", "train/00000.png", "7", "train"),
        ("t10k/00000", "t10k/00000.png", "7", "test"),
    ]
    for row in rows:
        content = (out / "files" / row["path"]).read_bytes()
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert source["version"] == "mnist" and source["licence"] == "CC-BY-SA-3.0"


def test_a_delivery_brings_its_licence_and_its_hash_along(here: Path) -> None:
    files = {"a.txt": "好\n", "b.txt": "差\n", "LICENCE": "CC0-1.0\n", "../evil.txt": "x\n"}
    with zipfile.ZipFile("x.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    settings = {"licence_file": "LICENCE", "origin": "https://example.org", "layout": {"name": "text_files"}}
    rows, source, _ = run("text", name="delivery", path="x.zip", **settings)
    assert [(row["id"], row["text"], row["refused"]) for row in rows] == [
        ("a.txt:1", "好", None),
        ("b.txt:1", "差", None),
        ("../evil.txt", "", "a path out of the archive"),
    ]
    assert not Path("data/raw/evil.txt").exists()
    assert (source["licence"], source["licence_text"], source["origin"]) == (
        "CC0-1.0",
        "CC0-1.0\n",
        "https://example.org",
    )
    assert source["licence_sha256"] == hashlib.sha256(b"CC0-1.0\n").hexdigest()
    assert source["archive_sha256"] == hashlib.sha256(Path("x.zip").read_bytes()).hexdigest()


def test_a_source_of_both_kinds_is_held_to_the_tasks(here: Path) -> None:
    Path("x").mkdir()
    with pytest.raises(
        ConfigError, match=r"source: found 'delivery', which is for kind text; expected one for kind image"
    ):
        run("image", name="delivery", path="x", layout={"name": "text_files"})


def test_a_name_that_is_not_utf8_is_escaped_and_one_grown_too_long_hashed(here: Path) -> None:
    put("pets/cats/1.png", "pets/dogs/2.png")
    for name in (b"\xff.png", b"\xff" * 250 + b".png"):
        Path("pets/cats", os.fsdecode(name)).write_bytes(name)
    rows, _, out = run("image", name="image_folder", path="pets")
    stored = {row["id"]: (out / "files" / row["path"]).read_bytes() for row in rows}
    assert stored["cats/\\xff.png"] == b"\xff.png"
    assert stored["cats/" + "\\xff" * 250 + ".png"] == b"\xff" * 250 + b".png"


def test_two_examples_of_one_id_are_told_apart_and_the_second_refused(here: Path) -> None:
    put("pets/cats/\\xff.png", "pets/dogs/2.png")
    Path("pets/cats", os.fsdecode(b"\xff.png")).write_bytes(b"other")
    rows, _, _ = run("image", name="image_folder", path="pets")
    assert len({row["id"] for row in rows}) == 3
    assert [row["refused"] for row in rows if row["refused"]] == ["another example has the same id"]


def test_a_pipe_that_takes_a_files_place_neither_hangs_nor_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    target = tmp_path / "copy.png"

    def copy(example: Example) -> tuple[str, str, int]:
        return "copy.png", *fetch.copy_file(Path(str(example.content)), target)

    examples = [Example(name, tmp_path / name, "cats") for name in ("pipe.png", "vanished.png")]
    rows = list(fetch.fetch(examples, "image", copy))
    assert [row["refused"] for row in rows] == [
        "unreadable: not a regular file",
        "unreadable: No such file or directory",
    ]
    assert not target.exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"found 0 examples in 0 classes \(none\); expected at least 2 classes"),
        (["cats/1.png"], r"1 example in 1 class \(cats 1\)"),
        (["cats/1.png", "dogs/n.txt"], r"2 refused \(first: dogs/n\.txt: not named as an image"),
    ],
)
def test_fewer_than_two_classes_stop_the_task_and_leave_what_was_there(
    here: Path, names: list[str], message: str
) -> None:
    Path("pets").mkdir()
    put(*(f"pets/{name}" for name in names), "data/raw/pets/before")
    with pytest.raises(DataError, match=message):
        run("image", name="image_folder", path="pets")
    assert Path("data/raw/pets/before").exists()


def test_a_missing_path_names_the_setting(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.pets\.source\.path: found 'pets', which is missing"):
        run("image", name="image_folder", path="pets")


def test_the_same_source_gives_the_same_bytes(here: Path) -> None:
    put("pets/cats/1.png", "pets/dogs/2.png")
    (first,) = parts.files(run("image", name="image_folder", path="pets")[2] / "manifest")
    before = first.read_bytes()
    run("image", name="image_folder", path="pets")
    assert first.read_bytes() == before


def test_the_command_ends_with_one_line_and_code_2(here: Path) -> None:
    Path("params.yaml").write_text("tasks: {}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.fetch", "pets"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "danlu init" in done.stderr
