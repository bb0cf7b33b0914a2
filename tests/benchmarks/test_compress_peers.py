"""What the peers of compress are handed: the same network, the same examples, the same headline."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from pipeline import artifacts, export, graphs, network
from pipeline.examples import ImageInputs
from pipeline.models import cnn
from pipeline.targets import Target
from tests.conftest import SIZES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plain_pixels(tmp_path):
    torch.manual_seed(0)
    inputs = ImageInputs(32, 32, 3, (0.5, 0.4, 0.6), (0.2, 0.3, 0.25))
    net = network.network(cnn, cnn.Config(), inputs, Target("classes", ("a", "b"))).net
    export.export(net, inputs, tmp_path / "ours.onnx")
    load("compress_peers").plain_pixels(tmp_path / "ours.onnx", tmp_path / "plain.onnx")
    assert "DequantizeLinear" in graphs.operators(tmp_path / "ours.onnx")
    assert "DequantizeLinear" not in graphs.operators(tmp_path / "plain.onnx")
    feed = {"images": export.sample(inputs, 3)}
    ours, plain = (graphs.answer(graphs.session(tmp_path / f"{name}.onnx"))(feed) for name in ("ours", "plain"))
    np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4)


def test_hand_over(trained_talk, talk, tmp_path, monkeypatch):
    root = tmp_path / "talk"
    shutil.copytree(trained_talk, root)
    monkeypatch.chdir(root)
    folder = root / "data/compressed/talk"
    loaded = network.load(root / "data/models/talk")
    export.export(loaded.net, loaded.inputs, folder / "net/fp32.onnx")
    artifacts.write_json(folder / "compress.json", {"candidates": {"net": {"chosen": "fp32", "graph": "fp32.onnx"}}})
    peers, exchange = load("compress_peers"), load("peers/exchange")
    assert peers.hand_over(talk, root) == SIZES["validation"]
    feeds, labels = exchange.read(root, "validation")
    examples = graphs.of_net(peers.split_of(talk, "validation"), loaded.inputs)
    assert (labels == examples.truth).all() and [feed["ids"].shape[1] for feed in feeds] == examples.lengths.tolist()
    run = graphs.answer(graphs.session(root / "ours.onnx"))
    expected = graphs.answers(run, examples).argmax(axis=1)
    assert (exchange.outputs(run, feeds).argmax(axis=1) == expected).all()


def test_macro_f1():
    random = np.random.default_rng(0)
    labels, answers = random.integers(0, 4, (2, 200))
    found = load("peers/exchange").macro_f1(labels, answers)
    assert found == pytest.approx(f1_score(labels, answers, average="macro"))


def test_ask(tmp_path, monkeypatch):
    peers = load("compress_peers")
    monkeypatch.setattr(peers, "PEERS", tmp_path)
    (tmp_path / "peer.py").write_text("import sys; print('a log'); print('{\"of\": \"%s\"}' % sys.argv[2])")
    assert peers.ask(sys.executable, "peer.py", tmp_path, 0.02) == {"of": "0.02"}
    (tmp_path / "peer.py").write_text("raise SystemExit('no such package')")
    with pytest.raises(SystemExit, match=r"peer.py: ended with 1: no such package"):
        peers.ask(sys.executable, "peer.py", tmp_path, 0.02)
