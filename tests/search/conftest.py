"""A project of sixteen pixels an image, in which a trial takes a tenth of a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline import artifacts, config, featurize
from pipeline.config import Task
from tests.prepared_files import write_meta, write_split

ROOT = Path(__file__).parents[2]
SPACE = {
    "train.optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": [0.0, 0.2, 0.4],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Task]:
    """Writes params.yaml of the task `toy` with the settings of `tune` and of `train`; its data are dark and bright."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DANLU_RUN", "the flow has checked params.yaml")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = artifacts.folder("prepared", "toy")
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 96), ("validation", 48), ("test", 16)):
        labels = np.arange(count) % 2
        pixels = random.integers(0, 200, (count, 8, 8, 1)) + 25 * labels[:, None, None, None]
        write_split(folder, split, labels, ["bright", "dark"], pixels.astype(np.uint8))
    write_meta(folder, "image", ["bright", "dark"], (8, 8, 1))

    def write(*, train: dict[str, Any] | None = None, space: dict[str, Any] | None = None, **tune: Any) -> Task:
        sections = {name: {} for name in config.SECTIONS} | {"kind": "image"}
        sections |= {
            "source": {"name": "image_folder", "path": "photos"},
            "model": {"name": "mlp", "widths": [16], "normalisation": "none"},
        }
        sections["train"] = {"epochs": 4, "batch_size": 32, "images": {"flips": "none"}} | (train or {})
        sections["tune"] = {"space": SPACE if space is None else space} | tune
        with Path("params.yaml").open("w", encoding="utf-8") as file:
            YAML().dump({"tasks": {"toy": sections}}, file)
        return config.task("toy")

    featurize.main(write())
    return write
