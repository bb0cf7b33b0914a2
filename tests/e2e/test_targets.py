"""A value of images and several labels of texts, from the user's files through every stage to answers."""

import csv
import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import artifacts, config, metrics, network, predict, report
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.pruning import cutting
from tests.e2e.project import Project

STAGES = ["fetch", "validate", "split", "prepare", "examine", "featurize", "baseline"]
STAGES += ["tune", "train", "crossvalidate", "suspects", "compress", "evaluate", "register"]
SECTIONS: dict[str, Any] = {section: {} for section in config.SECTIONS}
FOLDED: dict[str, Any] = {"crossvalidate": {"folds": 2}, "suspects": {"rows": 20}}
STEADY: dict[str, Any] = {  # a tiny net's speed-up is within the noise of its measurement
    "min_speedup": 0,
    "examples": 16,
    "target": {"rounds": 10},
    "prune": {"levels": []},
}
PRUNED = STEADY | {"prune": {"levels": [0.4], "epochs": 1, "distil": "off"}}
WORDS = {"price": "价格", "room": "房间", "food": "早餐", "staff": "服务"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def write_bright(folder: Path, count: int = 160) -> dict[str, float]:
    """Noise of a mean grey level, which is the value in a unit of its own; one row has no number, one a wrong one."""
    random = np.random.default_rng(0)
    folder.mkdir()
    values = {f"{k}.png": round(float(random.uniform(5, 25)), 3) for k in range(count)}
    for name, value in values.items():
        pixels = (8 * value + random.normal(0, 20, (16, 16))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "degrees"])
        told = {**values, "3.png": "hot", "9.png": 30 - values["9.png"]}  # no number, and a wrong one
        rows.writerows(told.items())
    return values


def write_topics(path: Path, count: int = 400) -> None:
    """Sentences of made-up characters with a word for each of their topics; some have none."""
    random = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "topics"])
        for _ in range(count):
            there = [name for name in WORDS if random.random() < 0.4]
            parts = [WORDS[name] for name in there] + list(random.choice(list("天地玄黄宇宙洪荒日月盈昃辰宿列张"), 9))
            rows.writerow(["".join(random.permutation(parts)), "; ".join(there)])


TASKS = {
    "warmth": SECTIONS
    | FOLDED
    | {
        "kind": "image",
        "source": {"name": "image_table", "path": "bright", "label_column": "degrees", "target": "value"},
        "validate": {"min_value": 0},
        "prepare": {"side": 16},
        "model": {"name": "resnet"},
        "train": {"epochs": 8, "batch_size": 16},
        "compress": PRUNED,
        "evaluate": {"headline": "mae"},
    },
    "topics": SECTIONS
    | FOLDED
    | {
        "kind": "text",
        "source": {
            **{"name": "text_table", "path": "topics.csv", "label_column": "topics"},
            **{"target": "labels", "separator": ";", "unlabelled": "none"},
        },
        "prepare": {"tokeniser": {"name": "char"}},
        "features": {"characters": 2},
        "model": {"name": "textcnn", "embedding": 16, "channels": 16},
        "train": {"epochs": 8, "batch_size": 16},
        "compress": STEADY,
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after all stages of both tasks, in this process."""
    project = Project(tmp_path_factory.mktemp("targets"))
    write_bright(project.folder / "bright")
    write_topics(project.folder / "topics.csv")
    (project.folder / ".dvc").mkdir()
    (project.folder / "params.yaml").write_text(json.dumps({"tasks": TASKS}), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DANLU_"))]:
            patch.delenv(name)
        for name in TASKS:
            for stage in STAGES:
                importlib.import_module(f"pipeline.{stage}").main(config.task(name))
        report.main()
    return project


@pytest.fixture
def inside(done: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(done.folder)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DANLU_"))]:
        monkeypatch.delenv(name)
    return done


def test_what_is_no_number_is_in_quarantine_and_all_else_is_used(inside: Project) -> None:
    summary = inside.json("data/validated/warmth/summary.json")
    assert (summary["kept"], summary["quarantined"]) == (159, {"no_number": 1})
    meta = inside.json("data/prepared/warmth/meta.json")
    assert meta["target"]["kind"] == "value" and 10 < meta["target"]["mean"] < 20
    assert sum(meta["counts"].values()) + meta["leaks"] == 159


def test_every_label_is_in_every_split_in_its_share(inside: Project) -> None:
    meta = inside.json("data/prepared/topics/meta.json")
    assert meta["target"] == {"kind": "labels", "names": sorted(WORDS)}
    for shares in meta["shares"].values():
        assert set(shares) == set(WORDS) and all(0.2 < share < 0.6 for share in shares.values())


def test_the_value_is_told_better_than_by_its_mean_and_its_error_decides(inside: Project) -> None:
    report = inside.json("data/reports/warmth/report.json")
    assert report["headline"] == "mae"
    figures = report["candidates"]["net"]["metrics"]["compressed"]
    assert set(figures) == {"r2", "mae", "rmse", "pearson", "spearman"}
    assert figures["r2"]["value"] > 0.5 and figures["mae"]["value"] < 4
    for figure in figures.values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert set(inside.json("data/metrics/warmth.json")["net"]["compressed"]) >= {"mae", "mae_low", "r2"}
    compressed = inside.json("data/compressed/warmth/compress.json")["candidates"]["net"]
    assert compressed["scheme"] == "static_int8", compressed["reason"]
    rows = {row["name"]: row for row in compressed["levels"]}
    assert rows["pruned_1"]["epochs"] == 1 and rows["pruned_1"]["cut"] and "control-fp32" in compressed["variants"]
    saved = network.load(inside.folder / "data/compressed/warmth/net/control").net
    assert cutting.numbers(saved) == compressed["variants"]["control-fp32"]["numbers"]


def test_the_labels_are_told_and_measured_each(inside: Project) -> None:
    report = inside.json("data/reports/topics/report.json")
    chosen = report["candidates"][report["chosen"]]["metrics"]["compressed"]
    assert chosen["macro_f1"]["value"] > 0.8
    assert {f"average_precision/{name}" for name in WORDS} <= set(chosen)


def suspects(task: str) -> list[dict[str, str]]:
    text = Path(f"data/suspects/{task}/suspects.csv").read_text("utf-8-sig")
    return list(csv.DictReader(text.splitlines()))


def test_both_are_cross_validated_and_planted_errors_are_suspect(inside: Project) -> None:
    values = inside.json("data/metrics/warmth.folds.json")
    assert values["headline"] == "mae" and sum(values["examples"]["test"]) == 159
    assert values["candidates"]["net"]["r2"]["low"] < values["candidates"]["net"]["r2"]["value"] > 0
    labels = inside.json("data/metrics/topics.folds.json")
    assert set(labels["candidates"]["chosen"]) == set(metrics.of("labels").SHOWN)
    rows = suspects("topics")
    assert len(rows) == sum(labels["examples"]["test"])
    wrong = "9.png"  # whose value is that of another
    place = {row["id"]: (int(row["rank"]), row) for row in suspects("warmth")}
    assert place[wrong][0] <= 16 and place[wrong][1]["probability_of_label"] == ""
    page = (inside.folder / "data/suspects/warmth/index.html").read_text("utf-8")
    assert (
        "how many are wrong is not estimated" in page
        and (inside.folder / "data/suspects/warmth/suspects.png").is_file()
    )


def test_the_served_models_answer(inside: Project) -> None:
    dark, light = (inside.folder / name for name in ("dark.png", "light.png"))
    for path, level in ((dark, 60), (light, 180)):
        Image.fromarray(np.full((16, 16), level, np.uint8)).save(path)
    low, high = predict.predict("warmth", [str(dark), str(light)])
    assert isinstance(low, predict.Value) and isinstance(high, predict.Value)
    assert low.value < high.value
    (answer,) = predict.predict("topics", ["天地房间玄黄价格宇宙"])
    assert isinstance(answer, predict.Labels)
    assert answer.labels == [name for name, p in answer.probabilities.items() if p >= 0.5]
    assert set(answer.probabilities) == set(WORDS)
    shown = predict.show([answer])
    assert shown.endswith("天地房间玄黄价格宇宙") and all(name in shown for name in answer.labels)


def test_a_second_model_is_compared_with_the_champion(inside: Project) -> None:
    """One whose answers are worse becomes no champion; of a value the smaller error is the better."""
    from pipeline import register
    from pipeline.tracking import promotion, registry, store

    task = config.task("warmth")
    won = register.winner(task)
    today = register.measured(won.rows, won.target)
    version = registry.Models(store.client(), "warmth").holder("champion")
    assert version is not None
    champions = promotion.champions_answers(version, today, lambda uri: pytest.fail("asked anew"))
    assert promotion.gain(today, champions, "mae").value == 0
    worse = [("", float(value) + 5) for _, value in champions]  # type: ignore[arg-type]
    assert promotion.gain(today, worse, "mae").low > 0


def test_the_report_shows_both(inside: Project) -> None:
    page = (inside.folder / "data/report/index.html").read_text("utf-8")
    assert "a value, " in page and "Answers against true values" in page
    assert "4 labels" in page and "Each label, on the test split" in page
    assert "Confusion matrix" not in page


def failing(change: Callable[[Path], None], words: str) -> None:
    shutil.rmtree("broken", ignore_errors=True)
    Path("broken").mkdir()
    change(Path("broken"))
    task = Task(
        "broken", "text", TASKS["topics"] | {"source": TASKS["topics"]["source"] | {"path": "broken/topics.csv"}}
    )
    with pytest.raises(DataError, match=words):
        for stage in STAGES[:2]:
            importlib.import_module(f"pipeline.{stage}").main(task)


def test_a_separator_that_is_nowhere_is_said(inside: Project) -> None:
    def commas(folder: Path) -> None:
        text = (inside.folder / "topics.csv").read_text("utf-8")
        (folder / "topics.csv").write_text(text.replace("; ", "/"), "utf-8")

    failing(commas, r"no cell with two labels and ';' between them.*correct source\.separator")
    assert not artifacts.folder("raw", "broken").exists()
