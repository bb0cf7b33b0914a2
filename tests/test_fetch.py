import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import config, fetch, parts
from pipeline.config import Task
from pipeline.errors import ChangingError, ConfigError, DataError
from pipeline.examples import EMPTY_CLASS, Example
from pipeline.tally import Tally

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


def test_a_new_id_is_no_other_examples_own() -> None:
    for order in (["a#2", "a", "a"], ["a", "a", "a#2"], ["a", "a#2", "a", "a", "a#2"]):
        rows = list(fetch.fetch((Example(name, b"x", "p", text="x") for name in order), "text", fetch.copy_file))  # type: ignore[arg-type]
        assert len({row["id"] for row in rows}) == len(order) and {"a", "a#2"} <= {row["id"] for row in rows}
        assert not rows[0]["refused"]


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


@pytest.mark.parametrize(
    ("pets", "source"),
    [
        ("pets", {"name": "image_folder"}),
        ("pets/images", {"name": "delivery", "layout": {"name": "image_folder", "path": "images"}}),
        ("pets/monday", {"name": "inbox"}),
    ],
)
def test_an_empty_class_folder_stops_fetch_since_dvc_would_not_see_it_go(
    here: Path, pets: str, source: dict[str, Any]
) -> None:
    put(f"{pets}/cats/1.png", f"{pets}/dogs/2.png")
    Path(pets, "birds/young").mkdir(parents=True)
    with pytest.raises(DataError, match=r"^pets: found the class folder without a file \S*birds/; .*remove the folder"):
        run("image", **source, path="pets")
    assert not Path("data/raw/pets").exists()
    Path(pets, "birds/young").rmdir()
    Path(pets, "birds").rmdir()
    rows, _, _ = run("image", **source, path="pets")
    assert [row["label"] for row in rows] == ["cats", "dogs"]


def test_a_class_that_dvc_sees_without_an_example_is_left_to_validate(here: Path) -> None:
    put("pets/cats/1.png", "pets/dogs/2.png", "pets/birds/notes.txt")
    rows, _, _ = run("image", name="image_folder", path="pets")
    assert [row["id"] for row in rows if row["refused"] == EMPTY_CLASS] == ["birds/"]
    with zipfile.ZipFile("pets.zip", "w") as archive:
        for name in ("cats/1.png", "dogs/2.png", "birds/"):
            archive.writestr(name, name if name.endswith(".png") else "")
    rows, _, _ = run("image", name="delivery", path="pets.zip")
    assert [row["id"] for row in rows if row["refused"] == EMPTY_CLASS] == ["birds/"]


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


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Something happens to the source just after its last example was read."""
    write = fetch.write_manifest

    def meanwhile(*arguments: Any) -> Tally:
        written = write(*arguments)
        change()
        return written

    monkeypatch.setattr(fetch, "write_manifest", meanwhile)


def two_classes(place: str) -> None:
    put(f"{place}/cats/1.png", f"{place}/dogs/2.png")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda: two_classes("inbox/two\n"), r"'two\\n' arrived"),
        (lambda: put("inbox/one/cats/3.png"), "one changed"),
        (lambda: shutil.rmtree("inbox/one"), "one went"),
        (lambda: Path("inbox/three.part").rename("inbox/three"), "three arrived"),
        (lambda: [two_classes(f"inbox/{name}") for name in "abcde"], "a, b, c and 2 more arrived"),
    ],
)
def test_what_comes_to_an_inbox_while_it_is_read_fails_the_stage_and_the_next_run_reads_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], found: str
) -> None:
    two_classes("inbox/one")
    two_classes("inbox/three.part")
    put("data/raw/pets/before")
    with monkeypatch.context() as patched:
        changing(patched, change)
        with pytest.raises(ChangingError, match=rf"^inbox: found that {found} while it was read; expected .*run again"):
            run("image", name="inbox", path="inbox")
    assert Path("data/raw/pets/before").exists()
    put("inbox/four/cats/1.png", "inbox/four/dogs/2.png")
    rows, source, _ = run("image", name="inbox", path="inbox")
    kept = {str(row["id"]).partition("/")[0] for row in rows}
    assert kept == {delivery["name"] for delivery in source["deliveries"]} >= {"four"}
    assert kept == {name for name in os.listdir("inbox") if not name.endswith(".part")}


def test_what_is_still_being_written_into_an_inbox_does_not_fail_the_stage(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_classes("inbox/one")
    changing(monkeypatch, lambda: put("inbox/two.zip.part", "inbox/.three", "inbox/one/.DS_Store"))
    assert len(run("image", name="inbox", path="inbox")[0]) == 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda: put("pets/cats/3.png"), "cats changed"),
        (lambda: os.utime("pets/cats/1.png", (1, 1)), "cats changed"),
        (lambda: put("pets/birds/3.png"), "birds arrived"),
        (lambda: Path("pets/dogs/2.png").unlink(), "dogs changed"),
    ],
)
def test_a_folder_that_changes_while_it_is_read_fails_the_stage(
    here: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], found: str
) -> None:
    two_classes("pets")
    changing(monkeypatch, change)
    with pytest.raises(ChangingError, match=f"^pets: found that {found} while it was read"):
        run("image", name="image_folder", path="pets")


def test_a_table_that_grows_while_it_is_read_fails_the_stage(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.csv").write_text("text,label\na,x\nb,y\n")
    changing(monkeypatch, lambda: Path("t.csv").write_text("text,label\na,x\nb,y\nc,x\n"))
    with pytest.raises(ChangingError, match=r"^t\.csv: found that t\.csv changed while it was read"):
        run("text", name="text_table", path="t.csv")
