import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import export, graphs
from pipeline.compression import dynamic_int8
from pipeline.examples import TextInputs

TEXTS = TextInputs(300, 16)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(300, 32, padding_idx=0)
        self.lstm = nn.LSTM(32, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 2)

    def forward(self, ids):
        return self.head(self.lstm(self.embedding(ids))[0].amax(dim=1))


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    """fp32.onnx and int8.onnx of the network above; exported once: a second time PyTorch fixes the tokens."""
    folder = tmp_path_factory.mktemp("recurrent")
    torch.manual_seed(0)
    export.export(Recurrent().eval(), TEXTS, folder / "fp32.onnx")
    dynamic_int8.compress(folder / "fp32.onnx", folder / "int8.onnx", dynamic_int8.Config(), [])
    return folder


def test_a_recurrent_network_is_quantised_whole(recurrent):
    assert "DynamicQuantizeLSTM" in graphs.operators(recurrent / "int8.onnx")
    assert (recurrent / "int8.onnx").stat().st_size < (recurrent / "fp32.onnx").stat().st_size / 3
    ids = export.sample(TEXTS, 4)
    before, after = (graphs.answer(graphs.session(recurrent / f"{name}.onnx")) for name in ("fp32", "int8"))
    assert np.abs(before({"ids": ids}) - after({"ids": ids})).max() < 0.05


def test_each_direction_of_an_lstm_has_one_scale_and_every_channel_of_a_product_its_own(recurrent):
    model = onnx.load(recurrent / "int8.onnx")
    scales = {name: list(tensor.dims) for tensor in model.graph.initializer if (name := tensor.name).endswith("_scale")}
    lstm = next(node for node in model.graph.node if node.op_type == "DynamicQuantizeLSTM")
    assert [scales.pop(lstm.input[place]) for place in (8, 10)] == [[2], [2]]  # two directions
    assert sorted(scales.values()) == [[], [2]]  # the table's; those of the head's outputs


def test_a_linear_model_keeps_its_answers_in_a_quarter_of_the_size(tmp_path):
    random = np.random.default_rng(0)
    coefficients = random.normal(size=(3, 5000)).astype(np.float32)
    export.linear(coefficients, np.zeros(3, np.float32), tmp_path / "fp32.onnx")
    dynamic_int8.compress(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", dynamic_int8.Config(), [])
    assert graphs.quantised(tmp_path / "int8.onnx") == 1
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "fp32.onnx").stat().st_size / 3.5
    feed = {"terms": random.integers(0, 5001, (4, 30)), "weights": random.random((4, 30), np.float32) / 30}
    before, after = (graphs.answer(graphs.session(tmp_path / f"{name}.onnx")) for name in ("fp32", "int8"))
    np.testing.assert_allclose(after(feed), before(feed), atol=0.02)
