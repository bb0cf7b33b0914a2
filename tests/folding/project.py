"""A small task as validate and tune leave it, in the current folder."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline import arrivals, artifacts, baseline, config, featurize, parts, prepare, split, train
from pipeline.config import Task
from pipeline.search import values as search_values

NAME = "toy"
CHARACTERS = list("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")
TELLING = {"good": list("好喜值"), "bad": list("差悔旧")}
SETTINGS = {"max_bytes": 10**6, "max_pixels": 10**6, "near_jaccard": 0.8, "near_method": "auto"}
TEXT = {
    "kind": "text",
    "source": {"name": "text_table", "path": "toy.csv"},
    "prepare": {"tokeniser": {"name": "char"}},
    "features": {"minimum_count": 1, "minimum_documents": 1, "characters": 2},
    "model": {"name": "textcnn", "embedding": 8, "channels": 8},
    "train": {"epochs": 2, "batch_size": 16},
    "evaluate": {"resamples": 100},
}
IMAGE = {
    "kind": "image",
    "source": {"name": "image_folder", "path": "toy"},
    "prepare": {"side": 16},
    "baseline": {"side": 16, "cell": 4},
    "model": {"name": "resnet", "width": 32},
    "train": {"epochs": 1, "batch_size": 16},
    "evaluate": {"resamples": 100},
}


def task(sections: dict[str, Any], **more: Any) -> Task:
    """With every section; `more` replaces some."""
    raw = {name: {} for name in config.SECTIONS} | sections | more
    return Task(NAME, raw["kind"], raw)


def texts(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Random characters, three of which tell the class."""
    random = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        label = ("good", "bad")[k % 2]
        words = [*random.choice(CHARACTERS, 9), *random.choice(TELLING[label], 3)]
        rows.append({"id": f"t:{k}", "label": label, "text": "".join(random.permutation(words))})
    return rows


def flip(rows: Sequence[dict[str, Any]], numbers: Iterable[int]) -> None:
    """Gives these rows the other label."""
    for k in numbers:
        rows[k]["label"] = {"good": "bad", "bad": "good"}[rows[k]["label"]]


def images(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Grey noise around a level that tells the class, as files under data/raw/toy."""
    random = np.random.default_rng(seed)
    folder = artifacts.folder("raw", NAME) / "files"
    folder.mkdir(parents=True)
    rows = []
    for k in range(count):
        level = 60 + 90 * (k % 2) + k % 7
        pixels = random.normal(level, 20, (16, 16)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
        digest = hashlib.sha256((folder / f"{k}.png").read_bytes()).hexdigest()
        rows.append({"id": f"{k}.png", "path": f"{k}.png", "label": "ab"[k % 2], "sha256": digest, "channels": 1})
    return [row | {"flat": None, "content": row["sha256"]} for row in rows]


def write(rows: Sequence[dict[str, Any]], pairs: Sequence[tuple[str, str]] = (), **summary: Any) -> None:
    """The accepted rows, their order of arrival, and pairs of near ones."""
    table = pd.DataFrame(list(rows))
    for name in ("group", "split", "probabilities", "path", "flat"):
        table[name] = pd.Series(table.get(name), index=table.index, dtype="str")
    if "text" in table:
        table["content"] = [hashlib.sha256(text.encode()).hexdigest() for text in table["text"]]
    folder = artifacts.folder("validated", NAME)
    folder.mkdir(parents=True, exist_ok=True)
    parts.write_frame(table, folder / "accepted")
    pd.DataFrame(list(pairs), columns=["a", "b"], dtype="str").to_parquet(folder / "neighbours.parquet")
    found = {"classes": sorted(table["label"].unique()), "settings": SETTINGS} | summary
    artifacts.write_json(folder / "summary.json", found)
    artifacts.folder("raw", NAME).mkdir(parents=True, exist_ok=True)


def tuned(made: Task) -> dict[str, Any]:
    """What stage tune writes."""
    values = search_values.of(made)
    artifacts.write_json(artifacts.folder("tuned", NAME) / "values.json", values)
    return values


def inside(folder: Path, monkeypatch: Any) -> None:
    """The folder as the project's root, its tracker out of reach."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("DANLU_RUN", "the flow has checked params.yaml")


def trained(made: Task) -> None:
    """Walks the stages from split to train, as a run does before compress."""
    validated = artifacts.folder("validated", NAME)
    contents = [arrivals.keys(part["content"]) for part in parts.each(validated / "accepted", ["content"])]
    arrivals.extend(artifacts.folder("order", NAME), np.concatenate(contents))
    for stage in (split, prepare, featurize, baseline, train):
        stage.main(made)
