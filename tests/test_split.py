"""The stage on validated folders that are written by hand: what it finds, and that it remembers it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import artifacts, sides, split
from pipeline.config import Task
from pipeline.errors import DataError

RECORD = Path("data/splits/mine.json")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def accepted(labels: str) -> None:
    """Validated rows, one a letter, which is its class; row k is the same in every call."""
    rows = [{"id": f"t:{k}", "label": label, "content": f"{k:064x}"} for k, label in enumerate(labels)]
    table = pd.DataFrame(rows).assign(group=None, split=None)
    folder = artifacts.folder("validated", "mine")
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "accepted.parquet")
    pd.DataFrame([], columns=["a", "b"], dtype="str").to_parquet(folder / "neighbours.parquet")
    artifacts.write_json(folder / "summary.json", {"classes": sorted(set(labels))})


def run(**settings: Any) -> dict[str, Any]:
    """What the stage wrote."""
    split.main(Task("mine", "text", {"prepare": settings}))
    return artifacts.read_json(RECORD)


def shares() -> pd.DataFrame:
    """Each class's share of each split, by what is on disk."""
    folder, found = artifacts.folder("validated", "mine"), artifacts.read_json(RECORD)
    table = pd.read_parquet(folder / "accepted.parquet")
    places = [sides.fraction(found["seed"], content) for content in table["content"]]
    begin = [found["begin"][label] for label in table["label"]]
    table["side"] = [sum(place >= edge for edge in edges) for place, edges in zip(places, begin, strict=True)]
    return pd.crosstab(table["label"], table["side"], normalize="columns")


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_has_its_share_of_every_split(seed: int) -> None:
    accepted("xyyyyyyyyy" * 20)
    run(seed=seed)
    assert shares().loc["x"].between(0.07, 0.13).all() and shares().shape == (2, 3)


def test_what_was_found_stays_as_data_grow_and_is_found_again_when_lost() -> None:
    accepted("xyyyyyyyyy" * 20)
    found = run(seed=3)
    accepted("xyyyyyyyyy" * 30)
    assert run(seed=3) == found
    RECORD.unlink()
    accepted("xyyyyyyyyy" * 20)
    assert run(seed=3) == found


def test_a_new_class_is_added_and_one_that_is_gone_is_kept() -> None:
    accepted("xyyyyyyyyy" * 20)
    before = run()["begin"]
    accepted("xyyyyyyyyy" * 20 + "z" * 60)
    after = run()["begin"]
    assert set(after) == {"x", "y", "z"}
    assert {label: after[label] for label in before} == before
    accepted("xyyyyyyyyy" * 20)
    assert run()["begin"] == after


def test_another_seed_or_other_shares_begin_anew() -> None:
    accepted("xyyyyyyyyy" * 20)
    first = run()
    assert run(seed=1)["begin"] != first["begin"]
    assert run(shares=(0.6, 0.2, 0.2))["shares"] == [0.6, 0.2, 0.2]
    assert run() == first


@pytest.mark.parametrize(
    "text", ["", "[]", '{"seed": 0}', '{"seed": 0, "shares": [0.8, 0.1, 0.1], "begin": {"x": "y"}}']
)
def test_a_damaged_record_stops_and_says_how_to_go_on(text: str) -> None:
    accepted("xy" * 60)
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text(text)
    with pytest.raises(DataError, match=r"data/splits/mine\.json: no record of a split; .*git checkout"):
        run()
    assert RECORD.read_text() == text
