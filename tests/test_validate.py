"""The stage as a user runs it, on small manifests of both kinds."""

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import arrivals, parts, validate
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError
from pipeline.examples import EMPTY_CLASS
from pipeline.validation import image as image_rules

RAW = Path("data/raw/mine")
OUT = Path("data/validated/mine")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (RAW / "files").mkdir(parents=True)


def row(name: str, content: bytes, label: str | None, **more: Any) -> dict[str, Any]:
    own = {"id": name, "path": name, "label": label, "group": None, "split": None, "probabilities": None}
    return {**own, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "refused": None, **more}


def text(name: str, words: str, label: str | None, **more: Any) -> dict[str, Any]:
    return row(name, words.encode(), label, **{"text": words, "encoding_ok": True, **more})


def run(kind: str, rows: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    names = ["id", "path", "label", "group", "split", "probabilities", "sha256", "bytes", "refused"]
    table = pd.DataFrame(rows, columns=names + (["text", "encoding_ok"] if kind == "text" else []))
    types = {"group": "str", "split": "str", "probabilities": "str", "refused": "str"}
    shutil.rmtree(RAW / "manifest", ignore_errors=True)
    parts.write_frame(table.astype(types), RAW / "manifest")
    validate.main(Task("mine", kind, {"validate": settings}))
    return json.loads((OUT / "summary.json").read_text())


def files() -> dict[str, bytes]:
    return {str(path.relative_to(OUT)): path.read_bytes() for path in OUT.rglob("*") if path.is_file()}


def details() -> dict[str, str]:
    table = pd.read_parquet(OUT / "quarantine.parquet")
    return dict(zip(table["id"], table["detail"], strict=True))


def reasons() -> dict[str, str]:
    table = pd.read_parquet(OUT / "quarantine.parquet")
    return dict(zip(table["id"], table["reason"], strict=True))


@pytest.fixture
def sentences() -> Callable[[int], str]:
    return lambda number: f"这是第{number * 7919}句话，内容{number * number}各不相同"


def test_each_bad_text_is_in_quarantine_with_its_reason(sentences: Callable[[int], str]) -> None:
    rows = [text(f"a:{k}", sentences(k), "好" if k % 2 else "坏") for k in range(1, 30)]
    rows += [
        text("same", sentences(3), "好"),
        text("wide", sentences(5).replace("，", ",") + "\u200b", "好"),
        text("both:1", "这句话有两个标签", "好"),
        text("both:2", "这句话有两个标签", "坏"),
        text("blank", "\u3000\u200b ", "好"),
        text("long", "长" * 200, "好"),
        text("nameless", "没有标签的一句话", None),
        text("broken", "坏\ufffd字节", "坏", encoding_ok=False),
        text("link", "", None, refused="a link out of the source"),
    ]
    summary = run("text", rows, max_characters=100)
    assert reasons() == {
        "same": "duplicate",
        "wide": "duplicate",
        "both:1": "conflicting_labels",
        "both:2": "conflicting_labels",
        "blank": "empty",
        "long": "too_long",
        "nameless": "no_label",
        "broken": "encoding",
        "link": "refused:a link out of the source",
    }
    assert summary["read"] == len(rows) == summary["kept"] + sum(summary["quarantined"].values())
    assert summary["classes"] == sorted(["好", "坏"])
    assert sum(summary["class_counts"].values()) == summary["kept"] == 29
    quarantine = pd.read_parquet(OUT / "quarantine.parquet").set_index("id")
    assert quarantine.loc["same", "detail"] == "same as a:3"
    assert quarantine.loc["long", "detail"] == "length 200; expected max_value 100"
    flagged = {entry["reason"]: entry["unexpected"] for entry in summary["expectations"] if entry["reason"]}
    assert flagged["too_long"] == 1
    assert (Path("data/docs/mine") / "index.html").is_file()


def test_the_test_example_is_kept_of_two_that_are_equal(sentences: Callable[[int], str]) -> None:
    rows = [text(f"a:{k}", sentences(k), "xy"[k % 2], split="train") for k in range(6)]
    rows.append(text("held", sentences(0), "x", split="test"))
    run("text", rows)
    assert reasons() == {"a:0": "duplicate"}


def test_near_texts_are_kept_and_named() -> None:
    base = "房间很干净服务也很周到下次还会再来住这里的早餐也不错"
    rows = [
        text("one", base, "x"),
        text("two", base + "哦", "x"),
        text("far", "完全不同的一条负面评论", "y"),
        text("b", "第二条", "y"),
    ]
    summary = run("text", rows)
    assert pd.read_parquet(OUT / "neighbours.parquet").to_numpy().tolist() == [["one", "two"]]
    assert (summary["near_pairs"], summary["largest_group"], summary["kept"]) == (1, 2, 4)


def stops(kind: str, rows: list[dict[str, Any]], pattern: str, **settings: Any) -> None:
    with pytest.raises(DataError) as caught:
        run(kind, rows, **settings)
    message = str(caught.value)
    assert re.search(pattern, message), message
    assert "\n" not in message and message.startswith("data/raw/mine: found ")


def test_a_wrong_encoding_stops_with_the_setting_to_change(sentences: Callable[[int], str]) -> None:
    rows = [text(f"a:{k}", sentences(k), "xy"[k % 2], encoding_ok=k > 8) for k in range(12)]
    stops("text", rows, r"9 of 12 rows encoding \(first: a:0.*source\.encoding: gb18030")


def test_unusable_data_stop_with_what_to_do(sentences: Callable[[int], str]) -> None:
    stops("text", [text(f"a:{k}", sentences(k), "x") for k in range(5)], "one usable class, x.*at least 2 classes")
    stops("text", [text("a", " ", "x"), text("b", "", "y")], "0 usable of 2 rows .*empty 2")
    refused = [text(f"a:{k}", sentences(k), "xy"[k % 2]) for k in range(8)] + [text("c/", "", "z", refused=EMPTY_CLASS)]
    stops("text", refused, "too few usable examples of z 0 .*refused:class without an example 1")
    rare = [text(f"a:{k}", sentences(k), "x") for k in range(5)] + [text("b", "唯一的一条", "y"), text("c", " ", "z")]
    stops("text", rare, "too few usable examples of y 1, z 0 .*validate.min_examples")
    stops("text", rare, "too few usable examples of v 0 .*unknown_label 1", classes=["x", "y", "v"], min_examples=1)


def test_the_users_own_rules_labels_and_severities_are_followed(sentences: Callable[[int], str]) -> None:
    Path("expectations").mkdir()
    Path("expectations/mine.yaml").write_text(
        "- {type: expect_column_values_to_not_match_regex, kwargs: {column: text, regex: 广告}, reason: advert}\n"
        "- {type: expect_column_max_to_be_between, kwargs: {column: length, max_value: 10}}\n"
    )
    Path("expectations/mine.labels.yaml").write_text("names: {'0': 坏, '1': 好}\nmerge: {好: [很好]}\ndrop: [没用]\n")
    rows = [text(f"a:{k}", sentences(k), str(k % 2)) for k in range(10)]
    rows += [text("b:0", sentences(1), "很好"), text("b:1", "广告：加微信", "很好"), text("b:2", "不知所云", "没用")]
    summary = run("text", rows)
    assert reasons() == {"b:0": "duplicate", "b:1": "advert", "b:2": "dropped_label"}
    told = (
        "text 广告：加微信; expected expect_column_values_to_not_match_regex (column text, regex 广告), as expectations"
    )
    assert details()["b:1"] == f"{told}/mine.yaml[0] says" and details()["b:0"] == "same as a:1"
    assert summary["class_counts"] == {"坏": 5, "好": 5}
    assert summary["labels"]["changed"]["很好"] == {"to": "好", "rows": 2}
    broken = [entry["name"] for entry in summary["expectations"] if not entry["success"]]
    assert broken == ["dropped_label", "duplicate", "advert", "expectations/mine.yaml[1]"]
    stops("text", rows, r"1 of 13 rows duplicate \(first: b:0: same as a:1\)", severity={"duplicate": "critical"})
    run("text", rows, severity={"duplicate": "critical"}, tolerance={"duplicate": 0.2})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "type: expect_column_mean_to_be_between, kwargs: {column: length, min_value: 500}",
            r"found 15\.25; expected expect_column_mean_to_be_between \(column length, min_value 500\), as "
            r"expectations/mine\.yaml\[0\] says; correct the source, or that entry",
        ),
        (
            "type: ExpectColumnMeanToBeBetween, kwargs: {column: length, min_value: 500}, advice: ask Ann",
            r"found 15\.25; expected expect_column_mean.* 500\), as expectations/mine\.yaml\[0\] says; ask Ann",
        ),
        (
            "type: expect_column_values_to_match_regex, kwargs: {column: text, regex: 有}",
            r"found 4 of 4 rows \(first: a:0\); expected expect_column_values_to_match_regex \(column text, regex 有\)",
        ),
        (
            "type: expect_column_values_to_match_regex, kwargs: {column: id, regex: '[0-2]'}, reason: late",
            r"found 1 of 4 rows late \(first: a:3.*; expected expect_column_values_to_match_regex \(column id",
        ),
    ],
)
def test_a_critical_rule_of_ones_own_says_what_was_measured_and_where_it_stands(entry: str, message: str) -> None:
    Path("expectations").mkdir()
    Path("expectations/mine.yaml").write_text("- {" + entry + ", severity: critical}")
    rows = [text(f"a:{k}", "这句话的长度是十五个字，正好" + str(k or "00"), "xy"[k % 2]) for k in range(4)]
    stops("text", rows, message)


def test_a_rule_that_the_library_refuses_is_named(sentences: Callable[[int], str]) -> None:
    Path("expectations").mkdir()
    rows = [text(f"a:{k}", sentences(k), "xy"[k % 2]) for k in range(4)]
    for rule, error in (
        ("type: expect_column_values_to_match_regex, kwargs: {column: text, colour: red}", ConfigError),
        ("type: expect_column_mean_to_be_between, kwargs: {column: text, min_value: 0}", DataError),
    ):
        Path("expectations/mine.yaml").write_text("- {" + rule + "}")
        with pytest.raises(error, match=r"expectations/mine\.yaml\[0\]: ExpectColumn"):
            run("text", rows)


def test_a_new_version_is_compared_with_the_one_before(sentences: Callable[[int], str]) -> None:
    rows = [text(f"a:{k}", sentences(k), "xy"[k % 2]) for k in range(200)]
    profiles, figures = Path("data/profiles/mine.json"), Path("data/metrics/mine.data.json")
    run("text", rows)
    assert json.loads(profiles.read_text())["previous"] is None
    assert json.loads(figures.read_text())["drift"] == {}
    longer = rows + [text(f"b:{k}", sentences(k) * 3, "x") for k in range(200, 400)]
    run("text", longer)
    drift = json.loads(figures.read_text())["drift"]
    assert drift["length"] > 0.25 and drift["classes"] > 0.25
    before = profiles.read_bytes()
    run("text", longer)  # the same data again are no new version
    assert profiles.read_bytes() == before
    stops("text", longer, "unlike the one before in classes, .*length", severity={"drift": "critical"})
    run("text", rows)
    assert json.loads(profiles.read_text())["previous"]["classes"] == {"x": 300, "y": 100}


def test_merged_labels_alone_are_no_drift(sentences: Callable[[int], str], caplog: pytest.LogCaptureFixture) -> None:
    rows = [text(f"a:{k}", sentences(k), "xyz"[k % 3]) for k in range(90)]
    run("text", rows)
    merge = {"labels": {"merge": {"both": ["x", "y"]}}}
    more = [*rows, text("b", sentences(90), "x")]
    with caplog.at_level("INFO"):
        run("text", more, **merge)
    figures = Path("data/metrics/mine.data.json")
    assert sorted(json.loads(figures.read_text())["drift"]) == ["chinese", "length"]
    assert any("no drift of the classes" in message for message in caplog.messages)
    run("text", [*more, text("c", sentences(91), "z")], **merge)
    assert json.loads(figures.read_text())["drift"]["classes"] == 0


def test_no_page_tells_another_host_that_it_was_opened(sentences: Callable[[int], str]) -> None:
    run("text", [text(f"a:{k}", sentences(k), "xy"[k % 2]) for k in range(4)])
    pages = [path.read_text("utf-8") for path in Path("data/docs/mine").rglob("*.html")]
    assert len(pages) == 7
    assert not [page for page in pages if "great-expectations-web-assets" in page or "dataContextId" in page]
    assert not [page for page in pages if re.search("<img[^>]*https?:", page)]
    index = Path("data/docs/mine/index.html").read_text("utf-8")
    links = re.findall('href="([^"]*)"', index)
    assert len(links) == 6 and all((Path("data/docs/mine") / link).is_file() for link in links)
    assert "http" not in index and "<script" not in index


def picture(number: int, side: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8))


def image(name: str, label: str | None, picture: Image.Image | bytes, **more: Any) -> dict[str, Any]:
    path = RAW / "files" / name
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        picture.save(path)
    return row(name, path.read_bytes(), label, **more)


def test_each_bad_image_is_in_quarantine_with_its_reason() -> None:
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k)) for k in range(8)]
    rows += [
        image("text.jpg", "x", b"<html>"),
        image("empty.png", "x", b""),
        image("thin.png", "x", Image.new("RGB", (40, 1))),
        image("huge.png", "x", Image.new("L", (200, 200))),
        image("plain.png", "x", Image.new("L", (30, 30), 9)),
        image("copy.png", "y", picture(1)),
        image("other.png", "x", picture(2)),
        image("wrong.png", "y", picture(2)),
        image("nobody.png", None, picture(99)),
        row("pipe.jpg", b"", None, refused="a FIFO"),
    ]
    summary = run("image", rows, max_undecodable=0.5, max_pixels=10_000)
    assert reasons() == {
        "text.jpg": "undecodable",
        "empty.png": "undecodable",
        "thin.png": "too_small",
        "huge.png": "too_large",
        "copy.png": "duplicate",
        "2.png": "conflicting_labels",
        "other.png": "conflicting_labels",
        "wrong.png": "conflicting_labels",
        "nobody.png": "no_label",
        "pipe.jpg": "refused:a FIFO",
    }
    assert summary["read"] == 18 == summary["kept"] + sum(summary["quarantined"].values())
    accepted: Any = parts.read(OUT / "accepted").set_index("id")
    assert accepted.loc["plain.png", "one_colour"]
    (broken,) = summary["warnings"]
    assert broken["found"] == "2 of 18 rows one_colour (first: thin.png)" and broken["expected"].startswith(
        "at most 0%"
    )
    assert accepted.loc["0.png", ["width", "height", "channels", "mode", "format"]].tolist() == [
        24,
        24,
        3,
        "RGB",
        "PNG",
    ]
    assert not {"refused", "duplicate_of"} & set(accepted.columns)


def test_many_undecodable_images_stop_the_task_and_the_pages_show_why() -> None:
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k) if k > 3 else b"GIF89a") for k in range(10)]
    stops("image", rows, r"4 of 10 rows undecodable \(first: 0.png: .*validate.max_undecodable")
    assert (Path("data/docs/mine") / "index.html").is_file()


def test_what_is_broken_without_stopping_is_told(
    sentences: Callable[[int], str], caplog: pytest.LogCaptureFixture
) -> None:
    Path("expectations").mkdir()
    Path("expectations/mine.yaml").write_text(
        "- {type: expect_column_max_to_be_between, kwargs: {column: length, max_value: 10}, advice: shorten them}\n"
        "- {type: expect_column_values_to_match_regex, kwargs: {column: text, regex: 人}, severity: info}\n"
        "- {type: expect_column_values_to_not_match_regex, kwargs: {column: text, regex: 广告}, reason: advert}\n"
    )
    summary = run("text", [text(f"a:{k}", sentences(k), "xy"[k % 2]) for k in range(6)] + [text("b", "广告", "x")])
    (broken,) = summary["warnings"]
    assert broken == {
        "found": "19",
        "expected": "expect_column_max_to_be_between (column length, max_value 10), as expectations/mine.yaml[0] says; "
        "shorten them",
    }
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"validate mine: found 19; expected {broken['expected']}"]


def test_every_rejected_row_is_listed_also_where_the_task_stops(sentences: Callable[[int], str]) -> None:
    rows = [text(f"a:{k}", sentences(k), "xy"[k % 2]) for k in range(6)]
    rows += [text(f"r,{k}", "", None, refused=f"fault {k % 7}") for k in range(20)]
    stops(
        "text",
        [*rows, text("b", "唯一", "z")],
        r"fault 0 3, .*, … and 2 more reasons\).*: data/docs/mine/quarantine.csv$",
    )
    with Path("data/docs/mine/quarantine.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["id"], row["reason"]) for row in found] == [(f"r,{k}", f"refused:fault {k % 7}") for k in range(20)]
    run("text", rows)
    assert len(pd.read_csv("data/docs/mine/quarantine.csv")) == len(reasons()) == 20


def test_near_images_are_named_and_two_runs_write_the_same_bytes() -> None:
    whole = [picture(k, 6).resize((60, 60), Image.Resampling.BICUBIC) for k in range(4)]
    rows = [image(f"{k}.png", "xy"[k % 2], one) for k, one in enumerate(whole)]
    rows.append(image("small.png", "x", whole[0].resize((50, 50))))
    run("image", rows)
    assert pd.read_parquet(OUT / "neighbours.parquet").to_numpy().tolist() == [["0.png", "small.png"]]
    before = {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()}
    run("image", rows)
    assert {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()} == before
    shutil.rmtree(".danlu")
    run("image", rows)
    assert {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()} == before


def test_equal_pixels_are_duplicates_whatever_the_format() -> None:
    colour, grey = picture(50), picture(51).convert("L")
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k)) for k in range(4)]
    rows += [image("a.png", "x", colour), image("a.bmp", "x", colour), image("g.png", "y", grey)]
    rows += [image("g.bmp", "y", grey), image("g3.png", "y", grey.convert("RGB")), image("w.tiff", "x", grey)]
    run("image", rows)
    assert reasons() == {"a.bmp": "duplicate"} | dict.fromkeys(
        ("g.png", "g.bmp", "g3.png", "w.tiff"), "conflicting_labels"
    )
    accepted = parts.read(OUT / "accepted").set_index("id")
    assert accepted.loc["a.png", "content"] == accepted.loc["a.png", "sha256"]  # the key of the split: the file's bytes


def test_a_new_copy_does_not_take_the_place_of_an_old_example() -> None:
    """Else the old example would have another content, and could change sides."""
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k)) for k in range(10)]
    run("image", rows)
    order = parts.read(OUT / "accepted")["content"].tolist()
    copy, new = image("0-again.bmp", "x", picture(2)), image("a.png", "x", picture(20))
    run("image", [copy, *rows, new])
    assert reasons() == {"0-again.bmp": "duplicate"}
    known, generations = arrivals.read(Path("data/order/mine"))
    assert known.tolist() == arrivals.keys([*order, new["sha256"]]).tolist() and generations.tolist() == [0, 10]
    twin = image("0-twin.png", "x", picture(2))  # of equal bytes, which have one key, the first by path is kept
    run("image", [twin, *rows, new])
    assert reasons() == {"2.png": "duplicate"}
    shutil.rmtree("data/order/mine")  # without that memory the first one is kept
    run("image", [copy, *rows, new])
    assert reasons() == {"2.png": "duplicate"}


def test_outliers_are_flagged_quarantined_or_ignored_as_the_user_says() -> None:
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k, 20 + k % 5)) for k in range(60)]
    rows.append(image("wide.png", "x", picture(98).resize((400, 20))))
    rows.append(image("dark.png", "y", picture(99).point(lambda level: level // 20)))
    summary = run("image", rows)
    assert reasons() == {}
    assert summary["outliers"]["aspect"] == 1 and summary["outliers"]["brightness"] == 1
    accepted = parts.read(OUT / "accepted").set_index("id")
    assert "aspect" in accepted.loc["wide.png", "outliers"].split(",")
    assert accepted.loc["0.png", "outliers"] == ""
    actions = {"aspect": "quarantine", "brightness": "ignore"}
    summary = run("image", rows, outliers=actions)
    assert reasons() == {"wide.png": "outlier_aspect"}
    assert re.fullmatch(r"aspect 20; usual 0\.\d+ to [12]\.\d+", details()["wide.png"])
    assert "brightness" not in summary["outliers"]
    figures = json.loads(Path("data/metrics/mine.data.json").read_text())
    assert figures["rows"] == {"read": 62, "kept": 61, "quarantined": 1}
    assert figures["reasons"] == {"outlier_aspect": 1}


def test_an_image_that_takes_too_long_is_lost_and_looked_at_again() -> None:
    rows = pd.DataFrame([image("slow.png", "x", Image.new("RGB", (6000, 6000)))])
    ((_, found),) = image_rules.seen(rows, RAW / "files", image_rules.Config(max_seconds=0.01))
    assert found == {"undecodable": "lost", "detail": "lost: took more than 0.01 s (validate.max_seconds)"}
    ((_, found),) = image_rules.seen(rows, RAW / "files", image_rules.Config(max_seconds=60))
    assert found["width"] == 6000


def test_what_is_known_of_a_file_is_not_measured_again() -> None:
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k)) for k in range(5)] + [image("bad.png", "x", b"GIF89a")]
    run("image", rows, max_undecodable=0.5)
    before = reasons(), parts.read(OUT / "accepted")
    for path in (RAW / "files").iterdir():
        path.unlink()  # so that looking at one would fail
    run("image", rows, max_undecodable=0.5)
    assert reasons() == before[0] == {"bad.png": "undecodable"}
    pd.testing.assert_frame_equal(parts.read(OUT / "accepted"), before[1])
    with pytest.raises(DataError, match="undecodable"):
        run("image", rows, max_pixels=100_000, max_undecodable=0.5)


@pytest.mark.parametrize("package", ["pillow", "simplejpeg"])
def test_another_version_of_a_decoder_measures_again(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k)) for k in range(5)]
    run("image", rows)
    for path in (RAW / "files").iterdir():
        path.unlink()
    run("image", rows)
    real = image_rules.version
    monkeypatch.setattr(image_rules, "version", lambda name: "0" if name == package else real(name))
    with pytest.raises(DataError, match="undecodable"):
        run("image", rows)


@pytest.mark.parametrize("suffix", [".measures.parquet", ".greys.npy", ".rows.npy", ".entry.json"])
def test_measures_that_are_damaged_are_taken_again(suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [image(f"{k}.png", "xy"[k % 2], picture(k)) for k in range(5)]
    run("image", rows)
    before = parts.read(OUT / "accepted")
    (path,) = Path(".danlu/cache/shards").glob(f"measures-*/*{suffix}")
    path.write_bytes(path.read_bytes()[:100])
    run("image", rows)
    pd.testing.assert_frame_equal(parts.read(OUT / "accepted"), before)
    assert caplog.text.count("removed from the cache, and made again") == 1
