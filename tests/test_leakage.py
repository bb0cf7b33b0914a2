"""The stage on small sets, and its sampling."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import artifacts, leakage, parts
from pipeline.config import Task

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
    accepted = rows[~again].reset_index(drop=True)
    column = {"text": "content", "sha256": "pixels"}[same]
    parts.write_frame(accepted.assign(**{column: accepted[same]}), validated / "accepted")
    rows[again].assign(reason="duplicate", same=rows[same]).to_parquet(validated / "quarantine.parquet")
    pd.DataFrame({"a": [], "b": []}, dtype="str").to_parquet(validated / "neighbours.parquet")
    first = 0
    for split, share in SPLITS.items():
        folder = artifacts.folder("prepared", "t") / split
        folder.mkdir(parents=True)
        last = round(share * len(accepted))
        accepted.iloc[first:last].to_parquet(folder / "0.parquet")
        artifacts.write_json(folder / "index.json", {"shards": ["0"]})
        first = last


def run(kind: str) -> dict[str, dict[str, float]]:
    leakage.main(Task("t", kind, {"validate": {}}))
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
    before = Path("data/metrics/t.leakage.json").read_bytes()
    run("text")
    assert Path("data/metrics/t.leakage.json").read_bytes() == before


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
        path=rows["id"], label=["xy"[k % 2] for k in range(120)], sha256=[f"{k:064x}" for k in range(120)]
    )
    lay(rows, "sha256")
    found = run("image")
    assert found["honest"]["accuracy"] == found["naive"]["accuracy"] == 1
    assert found["naive"]["seen"] == 0


def test_a_sample_holds_whole_contents() -> None:
    contents = [str(k % 300) for k in range(900)]
    chosen = leakage.sampled(contents, 100)
    numbers = {content for content, taken in zip(contents, chosen, strict=True) if taken}
    assert 60 < len(numbers) < 140 and chosen.sum() == 3 * len(numbers)
    assert leakage.sampled(contents, 300).all()


def test_wilson_interval() -> None:
    low, high = leakage.wilson(0.8, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)
