"""A published encoder's whole way, stage by stage: from a table of texts to a served int8 model."""

import csv
import importlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import config
from tests.e2e.project import Project, checkout
from tests.models import encoders

STAGES = ("fetch", "validate", "split", "prepare", "examine", "featurize", "baseline")
STAGES += ("tune", "train", "compress", "evaluate", "register")
FILE = "dictionaries/tokenizer.json"
SETTINGS: dict[str, dict[str, Any]] = {
    "prepare": {"tokeniser": {"name": "wordpiece", "file": FILE}},
    "features": {"pieces": "all", "length": 48},
    "baseline": {"strength": 1e-9},  # so that the network is what is served
    "model": {"name": "hugging_face", "path": "weights/tiny"},
    "train": {
        "epochs": 5,
        "batch_size": 16,
        "optimizer": {"learning_rate": 0.003},
        "layer_decay": 0.9,
        "freeze": {"epochs": 1},
    },
    "compress": {"min_speedup": 0, "schemes": ["dynamic_int8"], "target": {"rounds": 10}, "prune": {"levels": []}},
    "evaluate": {"resamples": 100},
}
TEXTS = ["质量很好，非常喜欢！", "太差了，后悔", "Good phone iPhone6s 好", "房间很旧 😀 服务差", "ｇｏｏｄ 喜"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def write_texts(path: Path, count: int) -> None:
    """Random characters, three of which tell what is liked and three what is not."""
    draw = random.Random(0)
    rest = [character for character in encoders.CHINESE if character not in "好喜值差悔旧"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for k in range(count):
            characters = draw.choices(rest, k=draw.randint(8, 20)) + draw.choices("差悔旧" if k % 2 else "好喜值", k=3)
            draw.shuffle(characters)
            table.writerow(["".join(characters), "neg" if k % 2 else "pos"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose task `opinions` was taken from fetch to register; the encoder itself is gone after training."""
    project = checkout(tmp_path_factory.mktemp("project"))
    write_texts(project.folder / "opinions.csv", count=240)
    encoders.save(project.folder / "weights/tiny")
    project.danlu("init", "opinions.csv")
    project.set({"opinions": SETTINGS})
    shutil.copyfile(project.folder / "weights/tiny/tokenizer.json", project.folder / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        for name in [key for key in project.environment if key.startswith("MLFLOW_")]:
            patch.delenv(name)
        for stage in STAGES:
            if stage == "compress":
                shutil.rmtree("weights")
            importlib.import_module(f"pipeline.{stage}").main(config.task("opinions"))
    return project


def test_model_json_knows_the_encoder_by_its_digest(served: Project) -> None:
    about = served.json("data/models/opinions/model.json")
    assert about["config"]["path"] == "weights/tiny" and len(about["config"]["digest"]) == 64
    assert about["config"]["encoder"]["num_hidden_layers"] == 2
    assert set(encoders.PIECES) <= set(served.json("data/features/opinions/vocabulary.json"))


def test_the_served_int8_model_answers_as_the_network(served: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pipeline import graphs, network
    from pipeline.baselines.linear import softmax
    from pipeline.features import cleaning, terms
    from pipeline.tokenisers import wordpiece

    monkeypatch.chdir(served.folder)
    entry = served.json("data/compressed/opinions/compress.json")["candidates"]["net"]
    assert entry["chosen"] == entry["scheme"] == "dynamic_int8", entry["reason"]
    assert entry["variants"]["eager"]["validation"]["accuracy"] > 0.9
    receipt = served.json("data/registered/opinions/receipt.json")
    assert (receipt["candidate"], receipt["variant"]) == ("net", "dynamic_int8")

    loaded = network.load(Path("data/models/opinions"))
    tokeniser = wordpiece.build(wordpiece.Config(file=FILE), Path("data/prepared/opinions"))
    index = {word: k for k, word in enumerate(served.json("data/features/opinions/vocabulary.json"))}
    ids = terms.padded([terms.encode(tokeniser.cut(cleaning.clean(text)), index) for text in TEXTS], 48)
    with torch.inference_mode():
        expected = loaded.net(torch.from_numpy(ids)).numpy()
    found = {
        name: graphs.answer(graphs.session(Path(f"data/compressed/opinions/net/{name}.onnx")))({"ids": ids})
        for name in ("fp32", "dynamic_int8")
    }
    assert np.abs(found["fp32"] - expected).max() < 1e-4
    assert np.abs(softmax(found["dynamic_int8"]) - softmax(expected)).max() < 0.05
    answers = json.loads(served.danlu("predict", "opinions", "--json", *TEXTS).stdout)
    assert [answer["label"] for answer in answers] == ["pos", "neg", "pos", "neg", "pos"]
    probabilities = [[answer["probabilities"][name] for name in loaded.target.names] for answer in answers]
    assert np.abs(np.array(probabilities) - softmax(found["dynamic_int8"])).max() < 1e-5
