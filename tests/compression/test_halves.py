import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pipeline import export, graphs
from pipeline.compression import bf16, embedding_int4, fp16
from pipeline.examples import ImageInputs, TextInputs
from tests import graph_bytes

IMAGES = ImageInputs(24, 24, 1, (0.5,), (0.25,))


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 32, 3, 2, 1), nn.Conv2d(32, 64, 3, 2, 1)
        self.head = nn.Linear(64, 3)

    def forward(self, images):
        x = torch.relu(self.first(images.permute(0, 3, 1, 2).float() / 255))
        return self.head(torch.relu(self.second(x)).mean(dim=(2, 3)))


def written(net, path):
    export.export(net.eval(), IMAGES, path)
    return path


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    torch.manual_seed(0)
    return written(Image(), tmp_path_factory.mktemp("halves") / "fp32.onnx")


@pytest.mark.parametrize(("module", "near"), [(fp16, 1e-3), (bf16, 1e-2)])
def test_half_the_bytes_and_nearly_the_same_answers(fp32, tmp_path, module, near):
    module.compress(fp32, tmp_path / "half.onnx", module.Config(), [])
    weights = graph_bytes.weight_bytes(tmp_path / "half.onnx")
    assert weights[module.STORED[0]] * 2 > 0.95 * graph_bytes.weight_bytes(fp32)["float32"]
    assert module.present(tmp_path / "half.onnx") == 2  # the head is too small for a Cast
    feed = {"images": export.sample(IMAGES, 4)}
    before, after = (graphs.answer(graphs.session(path))(feed) for path in (fp32, tmp_path / "half.onnx"))
    assert 0 < np.abs(before - after).max() < near * np.abs(before).max()


@pytest.mark.parametrize("module", [fp16, bf16])
def test_the_casts_are_gone_once_the_graph_is_loaded(fp32, tmp_path, module):
    module.compress(fp32, tmp_path / "half.onnx", module.Config(), [])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(str(tmp_path / "half.onnx"), options, providers=["CPUExecutionProvider"])
    before, made, loaded = (
        graphs.operators(path)["Cast"] for path in (fp32, tmp_path / "half.onnx", tmp_path / "loaded.onnx")
    )
    assert made == before + module.present(tmp_path / "half.onnx") and loaded == before  # that of the pixels


def test_a_weight_too_large_for_fp16_is_named_and_kept(tmp_path, caplog):
    net = Image()
    with torch.no_grad():
        net.second.weight[0, 0, 0, 0] = 1e5
    source = written(net, tmp_path / "fp32.onnx")
    with caplog.at_level(logging.INFO):
        fp16.compress(source, tmp_path / "fp16.onnx", fp16.Config(), [])
    assert "second.weight stays fp32" in caplog.text
    assert fp16.present(tmp_path / "fp16.onnx") == 1
    bf16.compress(source, tmp_path / "bf16.onnx", bf16.Config(), [])
    assert bf16.present(tmp_path / "bf16.onnx") == 2


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(400, 32, padding_idx=0), nn.Linear(32, 16)

    def forward(self, ids):
        return self.head(self.embedding(ids).amax(dim=1))


def test_scales_of_a_table_stay_fp32_and_the_rest_does_not(tmp_path):
    texts = TextInputs(400, 12)
    export.export(Text().eval(), texts, tmp_path / "fp32.onnx")
    embedding_int4.compress(tmp_path / "fp32.onnx", tmp_path / "int4.onnx", embedding_int4.Config(), [])
    fp16.compress(tmp_path / "int4.onnx", tmp_path / "both.onnx", fp16.Config(), [])
    model = onnx.load(tmp_path / "both.onnx")
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert len(halves) == 1 and not halves & graphs.scales(model).keys()
    feed = {"ids": export.sample(texts, 4)}
    before, after = (graphs.answer(graphs.session(tmp_path / f"{name}.onnx"))(feed) for name in ("int4", "both"))
    np.testing.assert_allclose(before, after, atol=1e-3)
