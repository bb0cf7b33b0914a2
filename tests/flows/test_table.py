"""The table at a run's end, and the summary that it is made from."""

import json
import subprocess
from pathlib import Path

import pytest

from flows import graph, summary, table, train
from flows.stages import Outcome

FIGURE = {"value": 0.9, "low": 0.8, "high": 0.95}
REPORT = {
    "candidates": {
        "baseline": {"metrics": {"trained": {"accuracy": FIGURE}, "control": None, "compressed": None}},
        "net": {
            "metrics": {
                "trained": {"accuracy": FIGURE},
                "control": {"accuracy": FIGURE},
                "compressed": {"accuracy": FIGURE},
            },
            "bytes": {"fp32": 4_000_000, "int8": 1_000_000},
            "latency_ms": {"int8": {"32": {"median": 9.0, "p95": 9.9}, "1": {"median": 0.5, "p95": 0.7}}},
            "speedup": {"vs_eager": 9.0},
            "variant": "int8",
        },
    }
}
RECEIPT = {"candidate": "net", "model_name": "solar", "version": 3, "sha256": "x"}
RECEIPT |= {"aliases": ["champion"], "decision": "champion"}
PARAMS = {"kind": "image", **{name: {} for name in ("source", "validate", "prepare", "features", "baseline", "tune")}}
PARAMS |= {name: {} for name in ("model", "train", "crossvalidate", "suspects", "compress", "evaluate", "register")}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "params.yaml", {"tasks": {"solar": PARAMS, "new": PARAMS}})
    write(tmp_path / "data/reports/solar/report.json", REPORT)
    write(tmp_path / "data/registered/solar/receipt.json", RECEIPT)
    write(tmp_path / "data/validated/solar/summary.json", {"read": 5, "kept": 4, "quarantined": {"duplicate": 1}})
    write(tmp_path / "data/prepared/solar/meta.json", {"leaks": 2})
    write(tmp_path / ".danlu/seconds/solar/train.json", 12.5)
    return tmp_path


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_the_summary_gathers_what_the_stages_left(project: Path) -> None:
    solar = summary.summary()["tasks"]["solar"]
    assert solar["candidates"]["net"]["bytes"] == {"fp32": 4_000_000, "int8": 1_000_000}
    assert solar["registered"]["name"] == "solar" and solar["registered"]["metrics"] == {"accuracy": FIGURE}
    assert solar["rows"] == {"read": 5, "kept": 4, "quarantined": {"duplicate": 1}}
    assert (solar["leaks"], solar["seconds"]) == (2, {"train": 12.5})


def test_cross_validation_is_null_while_it_is_off_and_then_has_every_figure(project: Path) -> None:
    path = project / "data/metrics/solar.folds.json"
    assert summary.summary()["tasks"]["solar"]["cross_validation"] is None
    write(path, {"folds": 0})
    assert summary.summary()["tasks"]["solar"]["cross_validation"] is None
    figure = {"value": 0.8, "low": 0.7, "high": 0.9, "folds": [0.7, 0.9], "pooled": FIGURE}
    candidates = {"net": {"accuracy": figure}, "chosen": {}}
    write(path, {"folds": 2, "headline": "accuracy", "optimistic": False, "candidates": candidates})
    found = summary.summary()["tasks"]
    told = {"value": 0.8, "low": 0.7, "high": 0.9}
    assert found["solar"]["cross_validation"]["candidates"] == {"net": {"accuracy": told}, "chosen": {}}
    assert found["solar"]["cross_validation"]["folds"] == 2 and found["new"]["cross_validation"] is None
    found["solar"]["cross_validation"]["candidates"]["chosen"] = {"accuracy": told}
    (row,) = [row for row in table.figure_rows(found) if "mean of 2 folds" in row[1]]
    assert row[:3] == ["solar", "mean of 2 folds", "0.800 (0.700-0.900)"]
    assert found["solar"]["cross_validation"]["optimistic"] is False
    write(path, {"folds": 2, "headline": "accuracy", "optimistic": True, "candidates": {"chosen": {}}})
    assert "mean of 2 folds, optimistic" in [row[1] for row in table.figure_rows(summary.summary()["tasks"])]


def test_a_task_that_nothing_has_run_is_empty(project: Path) -> None:
    new = summary.summary()["tasks"]["new"]
    assert (new["candidates"], new["registered"], new["seconds"]) == ({}, None, {})


def test_figures_stand_in_one_row_a_model(project: Path) -> None:
    rows = table.figure_rows(summary.summary()["tasks"])
    assert rows[1][:3] == ["solar", "baseline", "0.900 (0.800-0.950)"]
    assert rows[2] == [
        "solar",
        "net int8",
        "0.900 (0.800-0.950)",
        "",
        "1.00 MB",
        "0.50 ms",
        "solar version 3: champion",
    ]


def test_labels_and_values_have_figures_of_their_own(project: Path) -> None:
    tasks = summary.summary()["tasks"]
    entry = tasks["solar"]["candidates"]["baseline"]
    tasks["solar"]["candidates"] = {"baseline": entry | {"metrics": {"trained": {"r2": FIGURE, "mae": FIGURE}}}}
    heading, row = table.figure_rows(tasks)
    assert heading[2:4] == ["r2", "mae"] and row[2:4] == ["0.900 (0.800-0.950)"] * 2
    tasks["new"]["candidates"] = {
        "baseline": entry | {"metrics": {"trained": {"macro_f1": FIGURE, "exact_match": FIGURE}}}
    }
    assert table.figure_rows(tasks)[0][2:6] == ["macro-f1", "exact-match", "r2", "mae"]


def test_unchanged_stages_share_a_row_and_failures_are_told_once() -> None:
    outcomes = {
        "a": Outcome("a", "unchanged"),
        "b": Outcome("b", "unchanged"),
        "c": Outcome("c", "failed", 1.0, 3, ("it diverged",)),
        "d": Outcome("d", "skipped"),
    }
    assert [row[:2] for row in table.stage_rows(outcomes)[1:]] == [
        ["c", "FAILED"],
        ["d", "skipped: a stage before it failed"],
        ["2 stages", "unchanged"],
    ]
    assert table.failures(outcomes.values()).splitlines() == [
        "c ended with 3; all it said: .danlu/logs/c.log",
        "  it diverged",
    ]


def test_only_what_there_is_is_recorded(project: Path) -> None:
    run = {"train@solar": Outcome("train@solar", "ran")}
    stage = {"train@solar": graph.Stage("train@solar", 0, False, frozenset())}
    assert 'record   git add params.yaml && git commit -m "Train"' in train.ending(stage, run)
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-q", "-m", "x")
    assert "record" not in train.ending(stage, run)
    write(project / "expectations/solar.yaml", [])
    assert 'record   git add expectations && git commit -m "Train"' in train.ending(stage, run)
    longer = stage | {"register@solar": graph.Stage("register@solar", 0, False, frozenset({"train@solar"}))}
    assert "record" not in train.ending(longer, run)
    failed = {"train@solar": Outcome("train@solar", "failed", code=2)}
    assert "record" not in train.ending(stage, failed)


def git(*words: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


def test_the_end_tells_figures_and_what_to_do_next(project: Path) -> None:
    stage = graph.Stage("train@solar", 0, False, frozenset())
    said = train.ending({"train@solar": stage}, {"train@solar": Outcome("train@solar", "ran", 12.5)})
    assert "train@solar" in said and "0.900" in said and "danlu predict solar" in said


def test_params_broken_during_a_run_costs_the_figures_and_not_what_ran(project: Path) -> None:
    (project / "params.yaml").write_text("tasks: [")
    stage = graph.Stage("train@solar", 0, False, frozenset())
    said = train.ending({"train@solar": stage}, {"train@solar": Outcome("train@solar", "ran", 12.5)})
    assert "train@solar" in said and "0.900" not in said
