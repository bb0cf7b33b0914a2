"""Every text model goes through the stage compress by the scheme that fits it."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch

from pipeline import compress, config, export, graphs, making, models, network, quality, weighing
from pipeline.config import Task
from pipeline.examples import Split, TextInputs
from pipeline.targets import Target
from tests import graph_bytes
from tests.contracts.test_models import SMALL_BERT

INPUTS = TextInputs(2000, 16)
TARGET = Target("classes", ("a", "b"))
SETTINGS = config.parse(
    compress.Config, {"calibration": "minmax", "examples": 8, "min_speedup": 0, "target": {"rounds": 10}}, "compress"
)
DYNAMIC = {"rnn", "lstm", "gru", "transformer", "hugging_face"}
SMALL = {"hugging_face": {"encoder": SMALL_BERT}}
LEFT = {"rnn": 0.4, "gru": 0.6, "linear": 0.4}
"""Share of the weights that stays fp32 where it is not little: those of RNN and GRU have no int8 form; and idf."""
NAMES = [found.name for found in pkgutil.iter_modules(models.__path__) if not found.name.startswith("_")]
modules = {name: importlib.import_module(f"pipeline.models.{name}") for name in NAMES}
TEXTS = [name for name in NAMES if modules[name].KIND == "text"]


class Ids:
    def __init__(self, ids):
        self.ids, self.lengths = ids, (ids != 0).sum(axis=1)

    def padded(self, rows, length):
        return self.ids[rows, : max(1, self.lengths[rows].max())]


@pytest.mark.parametrize("name", TEXTS)
def test_every_model_gets_a_smaller_graph_that_answers_alike(name, tmp_path):
    torch.manual_seed(0)
    settings = config.parse(modules[name].Config, SMALL.get(name, {}), "model")
    net = network.network(modules[name], settings, INPUTS, TARGET).net.eval()
    export.export(net, INPUTS, tmp_path / "fp32.onnx")
    ids = np.random.default_rng(0).integers(1, 2000, (40, 16))
    ids[::3, 9:] = 0
    labels = np.arange(40) % 2
    examples = graphs.of_net(Split(labels, np.eye(2, dtype=np.float32)[labels], texts=Ids(ids)), INPUTS)

    def eager(feed):
        with torch.inference_mode():
            return net(torch.from_numpy(feed["ids"])).numpy()

    source = weighing.Source("net", eager, 10**6, examples, examples, TARGET)
    wanted = quality.settled(quality.Config(resamples=100), "classes", "evaluate")
    work = weighing.begin(Task("talk", "text", {}), source, SETTINGS, wanted, tmp_path)
    made = weighing.Made("trained", sum(p.numel() for p in net.parameters()), tmp_path / "fp32.onnx", "trained")
    making.put_into_graphs(work, made, making.calibration(work))
    found, int8 = weighing.finish(work, tmp_path / "profiles"), "dynamic_int8" if name in DYNAMIC else "static_int8"
    assert {"eager", "fp32", "fp16", int8} <= found["variants"].keys()
    assert not found["variants"]["fp32"]["rejected"] and found["chosen"] in found["variants"]
    before, after = (graphs.answer(graphs.session(work.files[kind])) for kind in ("fp32", int8))
    one = examples.read(np.arange(7))
    assert np.abs(before(one) - after(one)).max() < 0.05 * max(1, np.abs(before(one)).max())
    left, whole = (graph_bytes.weight_bytes(work.files[kind])["float32"] for kind in (int8, "fp32"))
    assert left < LEFT.get(name, 0.15) * whole
    assert work.files[int8].stat().st_size < 0.8 * work.files["fp32"].stat().st_size


def test_every_lstm_of_a_graph_gets_int8_weights(tmp_path):
    settings = modules["lstm"].Config(layers=2, embedding=16, width=16)
    net = network.network(modules["lstm"], settings, INPUTS, TARGET).net.eval()
    export.export(net, INPUTS, tmp_path / "fp32.onnx")
    module = importlib.import_module("pipeline.compression.dynamic_int8")
    module.compress(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", module.Config(), [])
    found = graphs.operators(tmp_path / "int8.onnx")
    assert found["DynamicQuantizeLSTM"] == 2 and "LSTM" not in found
