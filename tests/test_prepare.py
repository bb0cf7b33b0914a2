"""The stage on validated folders that are written by hand: sides, leaks, arrays and what serving must know."""

import hashlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import arrivals, parts, prepare, prepared, split
from pipeline.artifacts import SPLITS
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.features import cleaning, decoding
from pipeline.sides import Leak
from pipeline.store import Ragged
from pipeline.tokenisers import rjieba

OUT = Path("data/prepared/mine")
SETTINGS = {"max_bytes": 10**6, "max_pixels": 10**6, "near_jaccard": 0.8, "near_method": "auto"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".danlu").symlink_to(state)  # jieba's dictionary is loaded once


def accepted(rows: list[dict[str, Any]], pairs: Sequence[tuple[str, str]] = ()) -> None:
    table = pd.DataFrame(rows)
    for name in ("group", "split", "probabilities"):
        table[name] = pd.Series(table.get(name), index=table.index, dtype="str")
    folder = Path("data/validated/mine")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "accepted", ignore_errors=True)
    parts.write_frame(table, folder / "accepted")
    pd.DataFrame(list(pairs), columns=["a", "b"], dtype="str").to_parquet(folder / "neighbours.parquet")
    summary = {"classes": sorted(table["label"].unique()), "settings": SETTINGS}
    (folder / "summary.json").write_text(json.dumps(summary))
    arrivals.extend(Path("data/order/mine"), arrivals.keys(table["content"]))


def run(kind: str, **settings: Any) -> dict[str, Any]:
    task = Task("mine", kind, {"prepare": settings})
    split.main(task)
    prepare.main(task)
    return json.loads((OUT / "meta.json").read_text())


def texts(count: int) -> list[dict[str, Any]]:
    rows = []
    for k in range(count):
        words = f"第{k}条评论，质量&amp;价格都很好。"
        digest = hashlib.sha256(words.encode()).hexdigest()
        rows.append({"id": f"t:{k}", "label": "xy"[k % 2], "text": words, "content": digest})
    return rows


def sides() -> dict[str, str]:
    return {name: split for split in SPLITS for name in prepared.table(OUT, split)["id"]}


def files() -> dict[str, bytes]:
    return {str(path.relative_to(OUT)): path.read_bytes() for path in sorted(OUT.rglob("*")) if path.is_file()}


def cut(shard: Path) -> list[list[str]]:
    """The words of a shard's texts, from its arrays alone."""
    types = json.loads(prepared.with_suffix(shard, ".types.json").read_text())
    assert types == sorted(set(types))
    tokens, offsets = (np.load(prepared.with_suffix(shard, f".{name}.npy")) for name in ("tokens", "offsets"))
    assert (tokens.dtype, offsets.dtype) == ("uint16", "int64")
    return [[types[token] for token in tokens[start:end]] for start, end in itertools.pairwise(offsets)]


@pytest.mark.parametrize(
    ("steps", "one", "other"),
    [
        ({"simplify": "t2s"}, "第{k}条评论，质量很好。", "第{k}條評論，質量很好。"),
        ({"phones": "mask"}, "第{k}条，电话13800138000", "第{k}条，电话13912345678"),
        ({"boilerplate": ["来自某某客户端"]}, "第{k}条评论，质量很好。", "第{k}条评论，质量很好。来自某某客户端"),
        ({"repeats": 1}, "第{k}条评论，质量很好。", "第{k}条评论，质量很好好好好好好好好好好好。。。"),
    ],
)
def test_texts_that_cleaning_makes_alike_are_on_one_side(steps: dict[str, Any], one: str, other: str) -> None:
    rows = []
    for k in range(100):
        for text in (one, other):
            words = text.format(k=k * 7919)
            digest = hashlib.sha256(words.encode()).hexdigest()
            rows.append({"id": f"{len(rows)}", "label": "xy"[k % 2], "text": words, "content": digest})
    accepted(rows)
    assert run("text")["leaks"] == 0 and len({sides()[f"{k}"] for k in range(200)}) == 3
    apart = sum(sides()[f"{k}"] != sides()[f"{k + 1}"] for k in range(0, 200, 2))
    assert apart > 20  # as validation sees them they are different texts
    meta = run("text", clean=steps)
    left = sides()
    assert all(left[name] == left[twin] for name in left if (twin := str(int(name) ^ 1)) in left)
    assert meta["leaks"] == 200 - len(left) >= 20
    leaks = pd.read_parquet(OUT / "leaks.parquet")
    assert (leaks["near"].astype(int) ^ 1 == leaks["id"].astype(int)).all()


def test_texts_come_back_from_tokens_and_offsets() -> None:
    rows = texts(120)
    accepted(rows)
    meta = run("text")
    tokeniser = rjieba.build(rjieba.Config(), cache=Path(".danlu"))
    for name, count in meta["counts"].items():
        table, cleaned = prepared.table(OUT, name), prepared.cleaned(OUT, name)
        labels, targets = prepared.labels(OUT, name), prepared.targets(OUT, name)
        assert (labels.dtype, targets.dtype) == ("int64", "float32")
        assert len(cleaned) == len(labels) == len(targets) == count
        words = [found for shard in prepared.shards(OUT, name) for found in cut(shard)]
        for place, (example, text) in enumerate(zip(table["id"], cleaned, strict=True)):
            source = next(row for row in rows if row["id"] == example)
            assert text == cleaning.clean(source["text"])
            assert words[place] == tokeniser.cut(text)
            assert meta["classes"][labels[place]] == source["label"]
            assert targets[place].tolist() == [float(source["label"] == label) for label in meta["classes"]]
    assert meta["preparation"] == {
        "clean": asdict(cleaning.Steps()) | {"boilerplate": []},
        "tokeniser": asdict(rjieba.Config()),
        "versions": tokeniser.versions,
        "files": [],
    }
    assert sum(meta["counts"].values()) == 120


def test_nobody_changes_side_when_a_fifth_is_added() -> None:
    rows = texts(240)
    accepted(rows[:200])
    run("text")
    before = sides()
    accepted(rows[200:] + rows[:200])
    run("text")
    after = sides()
    assert len(after) == 240
    assert {name: after[name] for name in before} == before


def test_a_planted_near_duplicate_leaves_the_lesser_side() -> None:
    rows = texts(200)
    accepted(rows)
    run("text")
    where = sides()
    one = {name: next(key for key, side in where.items() if side == name) for name in ("train", "validation", "test")}
    accepted(rows, [(one["train"], one["test"]), (one["test"], one["validation"])])
    meta = run("text")
    leaks = pd.read_parquet(OUT / "leaks.parquet").to_dict("records")
    assert {(leak["id"], leak["split"], leak["near"], leak["near_split"]) for leak in leaks} == {
        (one["train"], "train", one["test"], "test"),
        (one["validation"], "validation", one["test"], "test"),
    }
    assert meta["leaks"] == 2
    assert {key: side for key, side in where.items() if key not in (one["train"], one["validation"])} == sides()


def test_the_table_of_leaks_says_where_a_neighbour_was_that_is_dropped_itself() -> None:
    rows = texts(3)
    accepted(rows)
    found = prepare.Sides(np.array([-1, -1, 2], np.int8), [Leak(0, 1), Leak(1, 2)], np.array([0, 1], np.int8))
    table = prepare.leak_table(found, parts.Reader(Path("data/validated/mine/accepted"), ["id"]))
    assert table.to_numpy().tolist() == [["t:0", "train", "t:1", "validation"], ["t:1", "validation", "t:2", "test"]]


def test_two_runs_write_the_same_bytes_and_another_seed_another_split() -> None:
    accepted(texts(150))
    run("text")
    before, first = files(), sides()
    shutil.rmtree(Path(".danlu/cache"))
    run("text")
    assert files() == before
    run("text", seed=1)
    assert sides() != first


def images(count: int, mode: str = "L") -> list[dict[str, Any]]:
    files = Path("data/raw/mine/files")
    files.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(count):
        pixels = np.random.default_rng(k).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(files / f"{k}.png")
        content = hashlib.sha256((files / f"{k}.png").read_bytes()).hexdigest()
        shared = {"id": f"{k}.png", "path": f"{k}.png", "label": "xy"[k % 2], "content": content, "sha256": content}
        rows.append({**shared, "channels": 1 if mode == "L" else 3, "flat": None})
    return rows


def test_images_are_those_that_serving_would_compute() -> None:
    accepted(images(60))
    meta = run("image", side=16, fit="pad")
    how = meta["preparation"]
    assert (how["size"], how["fit"], how["channels"]) == (16, "pad", "grey")
    for name, count in meta["counts"].items():
        pixels = prepared.images(OUT, name)
        assert pixels.shape == (count, 16, 16, 1) and pixels.dtype == np.uint8
        for row, example in enumerate(prepared.table(OUT, name)["id"]):
            content = (Path("data/raw/mine/files") / example).read_bytes()
            served = decoding.fit(decoding.decode(content).image, how["size"], how["fit"], how["channels"])
            assert np.array_equal(pixels[row], served)


def test_images_may_keep_their_sizes(caplog: pytest.LogCaptureFixture) -> None:
    rows = images(40, "RGB")
    for k, row in enumerate(rows):
        path = Path("data/raw/mine/files") / row["path"]
        Image.open(path).resize((20 + k, 30)).save(path)
        row["sha256"] = row["content"] = hashlib.sha256(path.read_bytes()).hexdigest()
    shutil.rmtree(".danlu/cache", ignore_errors=True)
    for kept in (rows, rows[:7] + rows[8:]):  # the second time from the cache, row by row
        accepted(kept)
        assert made("image", caplog, fit="none") == (40 if kept is rows else 0)
        for name in SPLITS:
            found = prepared.images(OUT, name)
            ids = prepared.table(OUT, name)["id"]
            assert isinstance(found, Ragged) and len(found) == len(ids)
            for pixels, example in zip(found, ids, strict=True):
                with Image.open(Path("data/raw/mine/files") / example) as image:
                    assert np.array_equal(pixels, np.asarray(image))


def test_fast_decoding_and_the_background_reach_the_pixels() -> None:
    rows = images(40, "RGB")
    for row in rows[:2]:
        path = Path("data/raw/mine/files") / row["path"]
        Image.new("RGBA", (40, 40), (0, 0, 0, 0 if row is rows[0] else 128)).save(path)
    Image.new("RGB", (300, 200), "navy").save(Path("data/raw/mine/files") / rows[2]["path"], "JPEG")
    for row in rows:
        content = (Path("data/raw/mine/files") / row["path"]).read_bytes()
        row["sha256"] = row["content"] = hashlib.sha256(content).hexdigest()
    accepted(rows[1:])
    how = run("image", side=16, quality="fast", background="#ff0000")["preparation"]
    assert (how["quality"], how["background"]) == ("fast", "#ff0000")
    decides = {name: how[name] for name in ("size", "fit", "channels", "quality", "background")}
    for name in SPLITS:
        for pixels, example in zip(prepared.images(OUT, name), prepared.table(OUT, name)["id"], strict=True):
            content = (Path("data/raw/mine/files") / example).read_bytes()
            assert np.array_equal(pixels, decoding.pixels(content, **decides))
            if example == rows[1]["id"]:
                assert pixels[0, 0].tolist() == pytest.approx([127, 0, 0], abs=1)


def test_one_example_is_told_in_the_singular(caplog: pytest.LogCaptureFixture) -> None:
    rows = texts(60)
    rows[0]["text"] += "ABC"
    accepted(rows)
    with caplog.at_level("INFO"):
        run("text", tokeniser={"name": "char"})
    assert "prepare mine: cleaning by lower changed 1 example" in caplog.messages
    left = sides()
    held_out = next(name for name, side in left.items() if side == "test")
    accepted(rows, [(next(name for name, side in left.items() if side == "train"), held_out)])
    with caplog.at_level("INFO"):
        run("text", tokeniser={"name": "char"})
    assert any("; 1 leak dropped; class shares" in line for line in caplog.messages)


def made(kind: str, caplog: pytest.LogCaptureFixture, **settings: Any) -> int:
    """How many examples a run had to decode or to cut."""
    caplog.clear()
    with caplog.at_level("INFO"):
        run(kind, **settings)
    (line,) = [line for line in caplog.messages if "examples made anew" in line]
    return int(line.split()[2].replace(",", ""))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_one_percent_more_is_all_that_is_made_and_rewritten(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = images(606) if kind == "image" else texts(6060)
    new = [row for k, row in enumerate(rows) if k % 101 == 50]  # among the others in the source's order
    old = [row for row in rows if row not in new]
    settings = {"side": 32, "seed": 5} if kind == "image" else {"seed": 5}
    shutil.rmtree(".danlu/cache", ignore_errors=True)
    accepted(old)
    made(kind, caplog, **settings)
    before, where = files(), sides()
    accepted(rows)
    assert made(kind, caplog, **settings) == len(new)
    after = files()
    rewritten = sum(len(content) for content in after.values() if content not in before.values())
    assert rewritten <= 0.05 * sum(map(len, after.values()))
    assert where.items() <= sides().items()


def test_what_goes_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    rows = images(120)
    accepted(rows)
    made("image", caplog, side=18)
    accepted(rows[:30] + rows[31:])
    assert made("image", caplog, side=18) == 0


@pytest.mark.parametrize("kind", ["image", "text"])
def test_what_was_written_into_the_output_heals(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    accepted(images(130) if kind == "image" else texts(600))
    shutil.rmtree(".danlu/cache", ignore_errors=True)
    run(kind)
    before = files()
    shard = max(
        (path for path in (OUT / "train").glob("*.npy") if not path.name.endswith("offsets.npy")),
        key=lambda path: path.stat().st_size,
    )
    with shard.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert files() != before
    assert made(kind, caplog) > 0
    assert files() == before
    assert made(kind, caplog) == 0


@pytest.mark.parametrize("kind", ["image", "text"])
def test_any_number_of_processes_writes_the_same_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(images(130) if kind == "image" else texts(600))
    written = []
    for count in ("0", "1", "2", "4"):
        monkeypatch.setenv("DANLU_WORKERS", count)
        shutil.rmtree(".danlu/cache", ignore_errors=True)
        run(kind)
        written.append(files())
    assert all(other == written[0] for other in written)


def test_one_colour_image_in_train_makes_all_rgb() -> None:
    rows = [{**row, "split": ["train", "validation", "test"][k // 2 % 3]} for k, row in enumerate(images(12))]
    rows[2]["channels"] = rows[4]["channels"] = 3  # held out: no train image knows of them
    accepted(rows)
    assert run("image")["preparation"]["channels"] == "grey"
    rows[0]["channels"] = 3
    accepted(rows)
    assert run("image")["preparation"]["channels"] == "rgb"
    assert prepared.images(OUT, "test").shape[-1] == 3
    assert run("image", channels="grey")["preparation"]["channels"] == "grey"


def test_images_of_one_colour_are_on_one_side_whatever_their_sizes() -> None:
    rows = images(90)
    blank = rows[:30]
    for k, row in enumerate(blank):
        Image.new("L", (20 + k, 20), 255).save(Path("data/raw/mine/files") / row["path"])
        row["flat"] = "#ffffff"
    accepted(rows)
    meta = run("image", side=16)
    found = sides()
    mine = Counter(found[row["id"]] for row in blank if row["id"] in found)
    assert len(mine) == 1 and meta["leaks"] == 30 - sum(mine.values()) > 0
    seen = [{pixels.tobytes() for pixels in prepared.images(OUT, name)} for name in SPLITS]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_soft_targets_come_from_the_sources_probabilities() -> None:
    rows = texts(60)
    rows[0]["probabilities"] = '{"x": 0.67, "y": 0.33}'
    for k, row in enumerate(rows):
        row["split"] = ["train", "validation", "test"][k // 2 % 3]
    accepted(rows)
    run("text")
    assert prepared.targets(OUT, "train")[0].tolist() == pytest.approx([0.67, 0.33])
    for bad in ('{"x": 0.5, "z": 0.5}', '{"x": 0.5}', '{"x": 1.5, "y": -0.5}'):
        rows[0]["probabilities"] = bad
        accepted(rows)
        with pytest.raises(DataError, match="t:0 has the probabilities"):
            run("text")


def test_a_split_without_a_class_stops_with_what_to_do() -> None:
    rows = texts(40)
    rows[0]["label"] = "rare"
    accepted(rows)
    with pytest.raises(DataError, match=r"has no example of class rare.*prepare.seed"):
        run("text")
    assert not OUT.exists()


def test_a_drift_above_three_points_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{**row, "split": ["train", "validation", "test"][k // 2 % 3]} for k, row in enumerate(texts(120))]
    accepted(rows)
    assert run("text")["drift"] == 0 and "points" not in caplog.text
    for row in [row for row in rows if row["split"] == "test"][:10]:
        row["label"] = "x"
    accepted(rows)
    assert run("text")["drift"] == pytest.approx(25 / 40 - 65 / 120, abs=1e-6)
    assert "differs by more than 3 points" in caplog.text


def test_prepare_without_its_split_says_what_to_run() -> None:
    accepted(texts(120))
    with pytest.raises(DataError, match="run stage split first"):
        prepare.main(Task("mine", "text", {"prepare": {}}))


def test_a_file_that_changed_since_validation_stops() -> None:
    accepted(images(60))
    Path("data/raw/mine/files/7.png").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"7\.png: validated, but now not an image"):
        run("image", side=17)
