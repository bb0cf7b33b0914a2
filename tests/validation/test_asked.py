"""The stage on small manifests of texts with values and with several labels."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import artifacts, parts, validate
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError

RAW, OUT = Path("data/raw/mine"), Path("data/validated/mine")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(target: str, given: list[str | None], texts: list[str] | None = None, **settings: Any) -> dict[str, Any]:
    words = texts or [f"第{k}句话，各不相同{k * 7919}" for k in range(len(given))]
    rows = [
        {"id": f"t:{k}", "path": "t", "label": label, "group": None, "split": None, "probabilities": None}
        | {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text), "refused": None}
        | {"text": text, "encoding_ok": True}
        for k, (label, text) in enumerate(zip(given, words, strict=True))
    ]
    types = dict.fromkeys(("label", "group", "split", "probabilities", "refused"), "str")
    parts.write_frame(pd.DataFrame(rows).astype(types), RAW / "manifest")
    artifacts.write_json(RAW / "source.json", {"target": target})
    validate.main(Task("mine", "text", {"validate": settings}))
    return dict(artifacts.read_json(OUT / "summary.json"))


def rejected() -> dict[str, tuple[str, str]]:
    table = pd.read_parquet(OUT / "quarantine.parquet")
    return {row["id"]: (row["reason"], row["detail"]) for row in table.to_dict("records")}


def test_values_are_finite_numbers_within_their_bounds() -> None:
    found = run("value", ["1", "2.0", "nan", "inf", "1,5", "99", "-3", None], max_value=10, min_value=0)
    assert {name: reason for name, (reason, _) in rejected().items()} == {
        **dict.fromkeys(("t:2", "t:3", "t:4"), "no_number"),
        **dict.fromkeys(("t:5", "t:6"), "out_of_bounds"),
        "t:7": "no_label",
    }
    assert "max_value 10" in rejected()["t:5"][1]
    assert found["kept"] == 2
    assert (found["classes"], found["target"]["kind"]) == ([], "value")
    accepted = parts.read(OUT / "accepted")
    assert accepted["label"].tolist() == ["1.0", "2.0"] and accepted["value"].tolist() == [1.0, 2.0]


def test_equal_values_however_they_are_written_are_no_conflict_and_others_are() -> None:
    texts = ["同一句话在这里", "同一句话在这里", "另一句话在那里", "另一句话在那里", "第三句"]
    run("value", ["1", "1.00", "1", "2", "3"], texts)
    assert {name: reason for name, (reason, _) in rejected().items()} == {
        "t:1": "duplicate",
        "t:2": "conflicting_labels",
        "t:3": "conflicting_labels",
    }


def test_a_value_far_from_the_others_is_flagged() -> None:
    found = run("value", [*(str(10 + k % 7) for k in range(60)), "500"])
    assert found["outliers"]["value"] == 1
    figures = json.loads(Path("data/metrics/mine.data.json").read_text())
    assert sum(figures["classes"].values()) == 61 and figures["median"]["value"] == 13


def test_values_that_move_are_drift() -> None:
    run("value", [str(k % 10) for k in range(100)])
    run("value", [str(20 + k % 10) for k in range(100)], [f"新的第{k}句话{k * 7919}" for k in range(100)])
    assert artifacts.read_json(Path("data/profiles/mine.json"))["drift"]["value"] > 1


def test_labels_are_counted_each_and_a_set_may_be_empty() -> None:
    found = run("labels", ["a|b", "", "b", "a", "a|b"])
    assert found["class_counts"] == {"a": 3, "b": 3}
    assert found["target"] == {"kind": "labels", "names": ["a", "b"]}
    assert found["kept"] == 5


def test_a_set_with_an_unknown_label_is_rejected() -> None:
    run("labels", ["a|b", "b", "a|x", "", "a"], classes=["a", "b"])
    assert {name: reason for name, (reason, _) in rejected().items()} == {"t:2": "unknown_label"}


def test_a_label_with_too_few_examples_stops_the_task() -> None:
    with pytest.raises(DataError, match=r"too few usable examples of rare 1.*at least 2 of each label"):
        run("labels", ["a|b", "b", "a|rare", ""])


def test_labels_are_renamed_merged_and_dropped_within_their_sets() -> None:
    settings = {"names": {"1": "a"}, "merge": {"m": ["b", "c"]}, "drop": ["x"]}
    found = run("labels", ["1|b", "b|c", "x", "c|x", "1"], labels=settings)
    assert parts.read(OUT / "accepted")["label"].tolist() == ["a|m", "m", "", "m", "a"]
    assert found["labels"]["dropped"] == {"x": 2}


@pytest.mark.parametrize("labels", [["1.0", "1"], ["x", "y"]])
def test_values_that_do_not_vary_stop_the_task(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"expected at least (2 different values|one example)"):
        run("value", labels)


@pytest.mark.parametrize(
    ("target", "settings", "words"),
    [
        ("value", {"classes": ["a"]}, r"validate\.classes: found some; expected none, since source\.target is value"),
        ("value", {"labels": {"drop": ["a"]}}, r"validate\.labels: found some"),
        ("labels", {"min_value": 1}, r"validate\.min_value: found it with source\.target labels"),
    ],
)
def test_settings_of_another_target_are_refused(target: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(target, ["1", "2"], **settings)
