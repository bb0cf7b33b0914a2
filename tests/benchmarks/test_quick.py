"""Each benchmark's --quick run on small data: a table, and a list of rows with their fields."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline import artifacts, compress, parts
from tests.folding import project

ROOT = Path(__file__).parents[2]
FIELDS = {"name", "ours", "peer", "ratio", "goal", "unit"}
PARAMS = """
tasks:
  talk:
    kind: text
    source: {name: text_table, path: talk.csv}
    validate: {}
    prepare: {}
    features: {}
    baseline: {}
    tune: {}
    model: {name: textcnn}
    train: {}
    crossvalidate: {}
    suspects: {}
    compress: {}
    evaluate: {}
    register: {}
"""


def quick(script, folder, *more):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", "--json", "rows.json", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "rows.json").read_text())
    assert rows and all(set(row) == FIELDS for row in rows)
    assert all(row["name"] in done.stdout for row in rows)
    measured = [row for row in rows if row["peer"] is not None]
    assert all(row["ratio"] == pytest.approx(row["peer"] / row["ours"], rel=0.05) for row in measured)
    return rows


@pytest.mark.slow
def test_prepare(tmp_path):
    rows = quick("prepare.py", tmp_path)
    assert {row["goal"] for row in rows} == {3.8, 2.5, 1.3, 0.75, None} and all(row["ours"] > 0 for row in rows)


def test_text(tmp_path):
    texts = ["房间很干净，下次还来", "服务差", "书很好看", None] * 30
    table = pd.DataFrame({"id": [str(k) for k in range(len(texts))], "text": texts})
    parts.write_frame(table, tmp_path / "data/raw/reviews/manifest")
    rows = quick("text.py", tmp_path)
    assert {row["goal"] for row in rows} == {8, 1} and all(row["peer"] > 0 for row in rows)


def test_tokenising(tmp_path):
    rows = quick("tokenising.py", tmp_path)
    assert len(rows) == 9 and all(": 0 of " in row["name"] for row in rows)


@pytest.fixture
def compressed_talk(trained_talk, talk, tmp_path, monkeypatch):
    """The project after compress, which chose fp32 and says that it takes an hour."""
    root = tmp_path / "talk"
    shutil.copytree(trained_talk, root)
    monkeypatch.chdir(root)
    compress.main(talk)
    hour = {"bytes": 1, "latency_ms": {"1": {"median": 3.6e6, "p95": 3.6e6}}}
    entry = {"chosen": "fp32", "graph": "fp32.onnx", "variants": {"fp32": hour}}
    artifacts.write_json(root / "data/compressed/talk/compress.json", {"candidates": {"net": entry}})
    (root / "params.yaml").write_text(PARAMS, "utf-8")
    return root


def test_compress(compressed_talk):
    rows = quick("compress.py", compressed_talk, "--nets", "TextCNN")
    drawn, kept = [row for row in rows if "TextCNN" in row["name"]], [row for row in rows if "talk" in row["name"]]
    assert {row["goal"] for row in drawn} == {5.9, 3.95, 10, None} and len(drawn) == 6 + 5 + 6
    smaller = {row["name"].partition(", file")[0]: row["ratio"] for row in drawn if "file" in row["name"]}
    assert smaller["TextCNN, int8"] > 3.9 and smaller["TextCNN, a third of the words, int8"] > 10
    assert all(0 < row["ratio"] < 1 for row in drawn if "peak" in row["name"])
    assert [row["goal"] for row in kept] == [5, None, 8, 1]
    assert kept[2]["ratio"] == 1 and kept[3]["ours"] > 1e6  # per cent away: the plain loop measures itself


def test_augmentation(tmp_path):
    rows = quick("augmentation.py", tmp_path)
    assert len(rows) == 34 and {row["goal"] for row in rows} == {1, None} and all(row["ours"] > 0 for row in rows)


@pytest.mark.slow
def test_loader(tmp_path):
    rows = quick("loader.py", tmp_path)
    assert {row["goal"] for row in rows} == {40, 1, 0.95, None}


@pytest.mark.slow
def test_train(tmp_path):
    rows = quick("train.py", tmp_path)
    assert {row["goal"] for row in rows} >= {3.0, 0.95} and all(row["ours"] > 0 for row in rows)
    assert {"DataLoader", "torchvision's recipe"} <= {row["name"].rpartition("against ")[2] for row in rows}


@pytest.mark.slow
def test_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project.write(project.texts(200))
    task = project.task(project.TEXT)
    project.tuned(task)
    (tmp_path / "params.yaml").write_text(json.dumps({"tasks": {"toy": dict(task.raw)}}))
    rows = quick("labels.py", tmp_path, "--keep", "kept")
    assert [row["goal"] for row in rows] == [0.6] and 0 <= rows[0]["ours"] <= 1
    assert quick("labels.py", tmp_path, "--keep", "kept") == rows  # once more into the same folder


@pytest.mark.slow
def test_tune(tmp_path):
    share, drawn, outside, workers = quick("tune.py", tmp_path)
    assert (share["goal"], outside["goal"]) == (0.25, 1.0) and workers["peer"] > 0 and drawn["ours"] > 0
