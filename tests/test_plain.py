import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import artifacts, config, plain, texts
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError
from pipeline.sources import image_folder, image_table, text_table

ROOT = Path(__file__).parents[1]
LABELS = ["T-shirt/top", "..", "猫", "a"]
TEXTS = ["好,的", 'a "quoted"', "two\nlines", "=1+1", "", "\u2028"]
ROWS = [("train", k, label) for k, label in enumerate(LABELS)] + [("validation", 0, "a"), ("test", 0, "猫")]


def task(kind: str) -> Task:
    return Task("toy", kind, {name: {} for name in config.SECTIONS} | {"kind": kind})


def prepared(kind: str, channels: int = 1) -> dict[str, np.ndarray]:
    """What prepare leaves, each split in shards of two rows; returns the images by split."""
    folder = artifacts.folder("prepared", "toy")
    rows = pd.DataFrame(ROWS, columns=["split", "row", "label"])
    rows.insert(0, "id", [f"id{k}" for k in range(len(rows))])
    rows["group"] = pd.array(["g", None] * 3, dtype="str")
    rows["text"] = TEXTS
    random, images = np.random.default_rng(0), {}
    for split in artifacts.SPLITS:
        of = rows[rows["split"] == split]
        starts = range(0, len(of), 2)
        (folder / split).mkdir(parents=True)
        images[split] = random.integers(0, 256, (len(of), 8, 8, channels), np.uint8)
        for start in starts:
            stem, part = str(folder / split / f"{start:06}"), slice(start, start + 2)
            of[part][["id", "label", "group"]].to_parquet(f"{stem}.parquet", index=False)
            if kind == "image":
                np.save(f"{stem}.npy", images[split][part])
            else:
                texts.write(Path(stem), list(of[part]["text"]), [0] * len(of[part]))
        artifacts.write_json(folder / split / "index.json", {"shards": [f"{start:06}" for start in starts]})
    artifacts.write_json(folder / "meta.json", {"classes": LABELS, "preparation": {"shape": [8, 8, channels]}})
    return images


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_images_are_read_back_by_both_sources(channels: int, format: str) -> None:
    images = prepared("image", channels)
    done = plain.export(task("image"), Path("out"), format)
    assert str(done) == f"out: wrote 6 examples as {format} (train 4, validation 1, test 1)"
    found = {e.id: e for e in image_table.read(image_table.Config("out", group_column="group", split_column="split"))}
    assert [(e.label, e.split, e.group) for e in found.values()] == [
        (label, split, "g" if k % 2 == 0 else None) for k, (split, _, label) in enumerate(ROWS)
    ]
    for example, (split, row, _) in zip(found.values(), ROWS, strict=True):
        with Image.open(str(example.content)) as image:
            difference = np.asarray(image).reshape(8, 8, channels).astype(int) - images[split][row]
        assert abs(difference).max() == 0 if format == "png" else abs(difference).mean() < 12
    again = [e for e in image_folder.read(image_folder.Config("out")) if not e.refused]
    assert {(e.id, e.split) for e in again} == {(e.id, e.split) for e in found.values()}


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_texts_are_read_back(format: str) -> None:
    prepared("text")
    plain.export(task("text"), Path("out"), format)
    settings = {"group_column": "group", "split_column": "split"}
    found = {e.text: (e.label, e.split, e.group) for e in text_table.read(text_table.Config("out", **settings))}
    assert found == {
        text: (label, split, "g" if k % 2 == 0 else None)
        for k, (text, (split, _, label)) in enumerate(zip(TEXTS, ROWS))
    }


def test_long_labels_that_begin_alike_get_folders_of_their_own() -> None:
    names = {plain._folder("类" * 90 + end) for end in ("", "一", "二", "三" * 90)}
    assert len(names) == 4 and all(name.startswith("类" * 66) and len(name.encode()) <= 255 for name in names)
    assert plain._folder("类" * 85) == "类" * 85


def test_one_split_alone_and_the_default_place() -> None:
    prepared("image")
    done = plain.export(task("image"), splits=["test"])
    assert done.counts == {"test": 1} and done.folder == Path("data/exported/toy")
    assert sorted(p.name for p in done.folder.iterdir()) == ["labels.csv", "test"]


def test_what_lies_there_stays() -> None:
    prepared("image")
    Path("out").mkdir()
    plain.export(task("image"), Path("out"))
    before = sorted(Path("out").rglob("*"))
    with pytest.raises(DataError, match=r"out: found something there; expected a new or an empty folder"):
        plain.export(task("image"), Path("out"), "jpeg")
    assert sorted(Path("out").rglob("*")) == before
    Path("link").symlink_to("nowhere")
    with pytest.raises(DataError, match="found something there"):
        plain.export(task("image"), Path("link"))


def test_a_failure_leaves_nothing() -> None:
    prepared("image")
    Path("data/prepared/toy/test/000000.npy").write_bytes(b"")
    with pytest.raises((DataError, EOFError)):
        plain.export(task("image"), Path("out"))
    assert [p.name for p in Path().iterdir()] == ["data"]


@pytest.mark.parametrize(("kind", "format"), [("image", "csv"), ("text", "png"), ("image", "bmp")])
def test_a_format_of_the_other_kind_is_refused(kind: str, format: str) -> None:
    with pytest.raises(ConfigError, match=rf"found the format '{format}'; expected one of"):
        plain.export(task(kind), Path("out"), format)


def test_a_place_that_cannot_be_written_is_an_error() -> None:
    prepared("image")
    Path("file").touch()
    with pytest.raises(DataError, match=r"file/out: cannot be written \(Not a directory\)"):
        plain.export(task("image"), Path("file/out"))


def test_nothing_prepared_says_how_to() -> None:
    with pytest.raises(DataError, match=r"danlu run toy --until prepare"):
        plain.export(task("image"))


def test_the_command_writes_where_the_user_stands() -> None:
    prepared("text")
    block = {name: {} for name in config.SECTIONS} | {"kind": "text", "model": {"name": "textcnn"}}
    block["source"] = {"name": "text_table", "path": "gone.csv"}
    Path("params.yaml").write_text(json.dumps({"tasks": {"toy": block}}))
    Path("dvc.yaml").touch()
    Path("below").mkdir()
    command = [sys.executable, "-m", "flows.cli", "export", "toy", "--out", "x", "--split", "test", "--format", "jsonl"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd="below", env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "data/prepared/toy: not known whether it is up to date" in done.stderr  # no project that DVC knows
    assert done.stdout == f"{Path('below/x').absolute()}: wrote 1 example as jsonl (test 1)\n"
    assert json.loads(Path("below/x/test.jsonl").read_text("utf-8"))["text"] == "\u2028"


def test_images_without_one_class_lie_in_no_class_folder_and_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepared("image")
    meta = artifacts.folder("prepared", "toy") / "meta.json"
    asked = {"kind": "labels", "names": LABELS}
    artifacts.write_json(meta, artifacts.read_json(meta) | {"target": asked})
    plain.export(task("image"), Path("out"))
    found = image_table.Config("out", target="labels", separator="|")
    assert sorted(str(example.label) for example in image_table.read(found)) == sorted(label for *_, label in ROWS)
    assert (tmp_path / "out/train/000000.png").is_file()
