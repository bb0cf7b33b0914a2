"""A small text project as train leaves it, which compress and evaluate go on from."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pipeline import artifacts
from pipeline.config import Task
from pipeline.fit.settings import Config as Train
from pipeline.optimizers import adamw

CLASSES = ["bad", "good"]
WORDS = 400
VOCABULARY = ["<pad>", "<unk>", *(f"w{k:03}" for k in range(2, WORDS))]
SIZES = {"train": 120, "validation": 240, "test": 40}
TRAIN = Train(epochs=3, batch_size=16, device="cpu", optimizer=adamw.Config(learning_rate=0.005))


def _texts(count, seed):
    """Labels and token ids: the first half of the words is bad, the second good, one word in five tells otherwise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    lengths = random.integers(3, 12, count)
    sides = [np.where(random.random(n) < 0.2, 1 - label, label) for n, label in zip(lengths, labels, strict=True)]
    ids = [2 + side * (WORDS // 2) + random.integers(0, WORDS // 2 - 2, len(side)) for side in sides]
    return labels, ids


def _write_split(root, split, labels, ids):
    import pandas as pd

    from pipeline import texts

    prepared = root / "data/prepared/talk"
    table = pd.DataFrame({"id": [f"{split}:{k}" for k in range(len(labels))], "label": [CLASSES[n] for n in labels]})
    (prepared / split).mkdir()
    table.assign(group=None, probabilities=None).to_parquet(prepared / split / "0000000000.parquet")
    artifacts.write_json(prepared / split / "index.json", {"shards": ["0000000000"]})
    texts.Cut.of([[VOCABULARY[k] for k in row] for row in ids]).write(prepared / split / "0000000000")
    texts.write(prepared / split / "0000000000", [""] * len(ids), [0] * len(ids))


def _write_features(folder):
    """Each word is a term, its count the weight."""
    ranges = {"word_range": [1, 1], "character_range": [1, 1], "sublinear": False, "norm": True}
    artifacts.write_json(folder / "vocabulary.json", VOCABULARY)
    artifacts.write_json(folder / "tfidf.json", {"word": VOCABULARY, "character": [], "idf": [1.0] * WORDS, **ranges})
    artifacts.write_json(folder / "meta.json", {"length": 16, "vocabulary": WORDS, "documents": 1000})


def _write_baseline(root):
    from pipeline.baselines.linear import softmax
    from pipeline.features import text

    matrices = text.weights(root / "data/prepared/talk", root / "data/features/talk")
    random = np.random.default_rng(1)
    half = np.where(np.arange(WORDS) < WORDS // 2, -1.0, 1.0)
    coefficients = (np.stack([-half, half]) + random.normal(0, 0.3, (2, WORDS))).astype(np.float32)
    intercept = np.array([0.05, -0.05], np.float32)
    folder = root / "data/baseline/talk"
    np.savez(folder / "weights.npz", coefficients=coefficients, intercept=intercept)
    for split in ("validation", "test"):
        np.save(folder / f"{split}.probabilities.npy", softmax(matrices[split] @ coefficients.T + intercept))


def _write_net(root):
    """An embedding whose first value tells the class, and what has learnt to read it."""
    import torch
    from safetensors.torch import save_file

    from pipeline import network, training
    from pipeline.fit import loop
    from pipeline.models import textcnn

    settings = textcnn.Config(embedding=64, channels=32, kernels=(2, 3))
    data = training.data(Task("talk", "text", {}), TRAIN)
    torch.manual_seed(0)
    made = network.network(textcnn, settings, data.inputs, data.target)
    half = torch.where(torch.arange(WORDS) < WORDS // 2, -1.0, 1.0)
    with torch.no_grad():
        made.net.embedding.weight[2:, 0] = half[2:]
    loop.fit(made.net, made.stages, data, TRAIN)
    folder = root / "data/models/talk"
    save_file(made.net.state_dict(), folder / "weights.safetensors")
    artifacts.write_json(folder / "model.json", network.describe("textcnn", settings, data.inputs, data.target))
    values = {"model": {"name": "textcnn", **asdict(settings)}, "train": asdict(TRAIN), "pins": {}}
    artifacts.write_json(root / "data/tuned/talk/values.json", values)


@pytest.fixture(scope="session")
def trained_talk(tmp_path_factory) -> Path:
    """The project's root. Copy it before changing it."""
    root = tmp_path_factory.mktemp("talk")
    for stage in ("prepared", "features", "baseline", "tuned", "models"):
        (root / f"data/{stage}/talk").mkdir(parents=True)
    for seed, (split, count) in enumerate(SIZES.items()):
        _write_split(root, split, *_texts(count, seed))
    artifacts.write_json(root / "data/prepared/talk/meta.json", {"kind": "text", "classes": CLASSES, "counts": SIZES})
    _write_features(root / "data/features/talk")
    _write_baseline(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        _write_net(root)
    return root


@pytest.fixture(scope="session")
def talk() -> Task:
    """The settings of that project."""
    compress = {"examples": 16, "target": {"rounds": 10}, "prune": {"levels": []}}
    sections: dict[str, object] = {"compress": compress, "evaluate": {"resamples": 100}}
    return Task("talk", "text", sections)
