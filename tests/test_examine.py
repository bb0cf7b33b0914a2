"""The stage on small sets of both kinds."""

import csv
import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import artifacts, examine, parts
from pipeline.config import Task

MEASURES = {
    "text": ["length", "chinese"],
    "sha256": ["width", "height", "aspect", "brightness", "contrast", "sharpness", "bytes_per_pixel"],
}
BROKEN = {"found": "4 of 250 rows late", "expected": "none of them"}
SPLITS = {"train": 0.6, "validation": 0.7, "test": 1.0}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lay(rows: pd.DataFrame, same: str) -> None:
    """What fetch, validate and prepare leave: the first row of each content accepted, by number in a split."""
    manifest = rows.drop(columns=[] if same in ("sha256", "text") else [same])
    parts.write_frame(manifest, artifacts.folder("raw", "t") / "manifest")
    again = rows[same].duplicated()
    validated = artifacts.folder("validated", "t")
    accepted = rows[~again].reset_index(drop=True).assign(outliers="", **dict.fromkeys(MEASURES[same], 1.0))
    accepted.loc[:5, MEASURES[same][0]] = [2.0, 3.0, 5.0, 7.0, 11.0, 400.0]
    accepted.loc[5, "outliers"] = MEASURES[same][0]
    column = {"text": "content", "sha256": "pixels"}[same]
    parts.write_frame(accepted.assign(**{column: accepted[same]}), validated / "accepted")
    rows[again].assign(reason="duplicate", same=rows[same], detail="same as another").to_parquet(
        validated / "quarantine.parquet"
    )
    pd.DataFrame({"a": accepted["id"][:2], "b": accepted["id"][2:4].tolist()}).to_parquet(
        validated / "neighbours.parquet"
    )
    summary = {"read": len(rows), "kept": len(accepted), "fences": {MEASURES[same][0]: {"low": 0.5, "high": 9.0}}}
    summary |= {"quarantined": {"duplicate": int(again.sum())} if again.any() else {}, "warnings": [BROKEN]}
    summary["class_counts"] = accepted["label"].value_counts().to_dict()
    artifacts.write_json(validated / "summary.json", summary)
    artifacts.write_json(Path("data/profiles/t.json"), {"drift": {"classes": 0.31}})
    first = 0
    for split, share in SPLITS.items():
        folder = artifacts.folder("prepared", "t") / split
        folder.mkdir(parents=True)
        last = round(share * len(accepted))
        accepted.iloc[first:last].to_parquet(folder / "0.parquet")
        artifacts.write_json(folder / "index.json", {"shards": ["0"]})
        first = last


OUT = Path("data/examined/t")


def rows_of(kind: str) -> list[list[str]]:
    """Group and id of each row of a CSV."""
    with (OUT / f"{kind}.csv").open(encoding="utf-8", newline="") as file:
        return [row[:2] for row in csv.reader(file)][1:]


def run(kind: str) -> dict[str, dict[str, float]]:
    examine.main(Task("t", kind, {"validate": {}}))
    found: dict[str, dict[str, float]] = json.loads(Path("data/metrics/t.leakage.json").read_text())
    return found


def test_texts_without_a_meaning_are_only_remembered() -> None:
    chance = random.Random(0)
    letters = [chr(0x4E00 + k) for k in range(500)]
    texts = ["".join(chance.choices(letters, k=12)) for _ in range(250)] * 4
    rows = pd.DataFrame({"id": [str(k) for k in range(1000)], "text": texts, "path": "f", "sha256": "0"})
    rows["label"] = [chance.choice("xy") for _ in range(250)] * 4
    lay(rows, "text")
    found = run("text")
    assert found["naive"]["accuracy"] > 0.9 and found["naive"]["seen"] > 0.9
    assert found["honest"]["accuracy"] < 0.7 and found["honest"]["seen"] == 0
    assert found["honest"]["low"] < 0.5 < found["honest"]["high"]
    assert found["inflation"] == pytest.approx(found["naive"]["accuracy"] - found["honest"]["accuracy"], abs=1e-3)
    assert rows_of("near") == [["1", "0"], ["1", "2"], ["2", "1"], ["2", "3"]]
    assert rows_of("outliers") == [["1", "5"]]
    page = (OUT / "index.html").read_text("utf-8")
    assert "0.310" in page and texts[0] in page and "distinct characters" in page
    assert '<td class="soft">5<br>length 400</td>' in page
    assert BROKEN["found"] in page and BROKEN["expected"] in page
    assert '<td>duplicate</td><td class="number">750</td>' in page and "../../docs/t/quarantine.csv" in page
    assert not re.search(r"(?:src|href)=\"https?://|url\(https?:|@import", page)
    before = {path: path.read_bytes() for path in [*OUT.iterdir(), Path("data/metrics/t.leakage.json")]}
    run("text")
    assert {path: path.read_bytes() for path in before} == before


def test_copies_and_conflicts_count_as_rows_that_could_have_been_used() -> None:
    for split in SPLITS:
        folder = artifacts.folder("prepared", "t") / split
        folder.mkdir(parents=True)
        pd.DataFrame({"id": ["a"] if split == "train" else []}, dtype="str").to_parquet(folder / "0.parquet")
        artifacts.write_json(folder / "index.json", {"shards": ["0"]})
    accepted = pd.DataFrame({"id": ["a"], "label": ["x"], "content": ["1"]})
    reasons = ["duplicate", "conflicting_labels", "too_long", "no_label"]
    quarantine = pd.DataFrame({"id": list("bcde"), "label": "y", "same": "1", "reason": reasons})
    found = examine.used(accepted, quarantine, artifacts.folder("prepared", "t"), "content")
    assert found[["id", "split"]].to_numpy().tolist() == [["a", "train"], ["b", ""], ["c", ""]]


def test_images_without_copies_score_the_same_either_way() -> None:
    files = artifacts.folder("raw", "t") / "files"
    files.mkdir(parents=True)
    random_ = np.random.default_rng(0)
    for k in range(120):
        stripes = np.kron(np.arange(8) % 2 * 120 + 60, np.ones((64, 8)))
        noise = random_.normal(0, 10, (64, 64))
        Image.fromarray(((stripes if k % 2 else stripes.T) + noise).clip(0, 255).astype(np.uint8)).save(
            files / f"{k}.png"
        )
    rows = pd.DataFrame({"id": [f"{k}.png" for k in range(120)]})
    rows = rows.assign(
        path=rows["id"], label=[("裂纹", "完好")[k % 2] for k in range(120)], sha256=[f"{k:064x}" for k in range(120)]
    )
    lay(rows, "sha256")
    found = run("image")
    assert found["honest"]["accuracy"] == found["naive"]["accuracy"] == 1
    assert found["naive"]["seen"] < 0.05  # but for the two pairs that are called near
    sheet = Image.open(OUT / "near.png").convert("L")
    assert np.asarray(sheet.crop((0, 0, 112, 112))).std() > 30  # the first picture
    page = (OUT / "index.html").read_text("utf-8")
    assert "url('near.png') -0px -0px" in page and '<span class="label">裂纹</span>' in page
    assert not (OUT / "conflicts.png").exists() and "None." in (OUT / "index.html").read_text("utf-8")
