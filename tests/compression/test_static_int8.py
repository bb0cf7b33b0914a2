import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pipeline import export, graphs, network
from pipeline.compression import static_int8
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, TextInputs
from pipeline.models import resnet
from pipeline.targets import Target

IMAGES, TEXTS = ImageInputs(24, 24, 1, (0.5,), (0.25,)), TextInputs(400, 12)


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 3)

    def forward(self, images):
        return self.head(self.body(images.permute(0, 3, 1, 2).float() / 255).mean(dim=(2, 3)))


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(400, 32, padding_idx=0)
        self.convolution = nn.Conv1d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.convolution(self.embedding(ids).transpose(1, 2))).amax(dim=2))


def feeds(inputs, count=8):
    name = "images" if isinstance(inputs, ImageInputs) else "ids"
    batches = export.sample(inputs, count)
    return [{name: batches[k : k + 1, : 5 + k] if name == "ids" else batches[k : k + 1]} for k in range(count)]


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fp32")
    torch.manual_seed(0)
    export.export(Image().eval(), IMAGES, folder / "image.onnx")
    export.export(Text().eval(), TEXTS, folder / "text.onnx")
    return folder


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize(("name", "inputs"), [("image", IMAGES), ("text", TEXTS)])
def test_smaller_with_nearly_the_same_answers(fp32, tmp_path, name, inputs, method):
    source, target = fp32 / f"{name}.onnx", tmp_path / "int8.onnx"
    static_int8.compress(source, target, static_int8.Config(method), feeds(inputs))
    weights = graphs.weight_bytes(target)
    assert target.stat().st_size < source.stat().st_size / 2
    assert weights.get("int8", 0) + weights.get("uint8", 0) > weights["float32"]
    before, after = (graphs.answer(graphs.session(path)) for path in (source, target))
    for feed in feeds(inputs):
        assert np.abs(before(feed) - after(feed)).max() < 0.3 * np.abs(before(feed)).max() + 0.05


@pytest.mark.parametrize(("name", "least"), [("image", 1), ("text", 2)])
def test_convolutions_and_the_embedding_are_int8_and_the_head_is_not(fp32, tmp_path, name, least):
    target = tmp_path / "int8.onnx"
    inputs = IMAGES if name == "image" else TEXTS
    static_int8.compress(fp32 / f"{name}.onnx", target, static_int8.Config(), feeds(inputs))
    assert graphs.quantised(target) >= least
    head = next(node for node in onnx.load(target).graph.node if node.op_type == "Gemm")
    tensors = {tensor.name: tensor.data_type for tensor in onnx.load(target).graph.initializer}
    assert tensors[head.input[1]] == onnx.TensorProto.FLOAT


def test_the_convolution_over_the_pixels_stays_fp32_and_the_next_does_not(fp32, tmp_path):
    target = tmp_path / "int8.onnx"
    static_int8.compress(fp32 / "image.onnx", target, static_int8.Config(), feeds(IMAGES))
    tensors = {tensor.name: tensor.data_type for tensor in onnx.load(target).graph.initializer}
    first, second = (node.input[1] for node in onnx.load(target).graph.node if node.op_type == "Conv")
    assert tensors[first] == onnx.TensorProto.FLOAT
    assert second not in tensors  # it comes out of a DequantizeLinear


def test_weights_are_per_channel_and_activations_unsigned(fp32, tmp_path):
    target = tmp_path / "int8.onnx"
    static_int8.compress(fp32 / "image.onnx", target, static_int8.Config(), feeds(IMAGES))
    model = onnx.load(target)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scales = [arrays[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in arrays]
    assert any(scale.shape == (64,) for scale in scales)
    zeros = [arrays[n.input[2]].dtype for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert zeros and set(zeros) == {np.dtype(np.uint8)}


def test_the_same_graph_and_batches_give_the_same_bytes(fp32, tmp_path):
    for name in ("one", "two"):
        static_int8.compress(fp32 / "image.onnx", tmp_path / name, static_int8.Config(), feeds(IMAGES))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_makes_a_value_of_the_output_stays_fp32(tmp_path):
    """A scale in 8 bits would leave 256 values."""
    torch.manual_seed(0)
    target = Target("value", ("value",), 1000.0, 300.0)
    net = network.network(resnet, resnet.Config(), IMAGES, target).net.eval()
    source, made = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export.export(net, IMAGES, source)
    static_int8.compress(source, made, static_int8.Config(), feeds(IMAGES))
    nodes = {name: node for node in onnx.load(made).graph.node for name in node.output}
    last = nodes[onnx.load(made).graph.output[0].name]
    while last.op_type in ("Mul", "Add"):
        last = next(nodes[name] for name in last.input if name in nodes)
    assert last.op_type in ("Gemm", "MatMul"), last.op_type
    before, after = (graphs.answer(graphs.session(path)) for path in (source, made))
    away = [np.abs(before(feed) - after(feed)).max() for feed in feeds(IMAGES)]
    assert max(away) < 0.1 * 300


def test_ranges_that_are_known_give_the_same_bytes(fp32, tmp_path):
    config = static_int8.Config("percentile")
    known = static_int8.measure(fp32 / "image.onnx", "percentile", feeds(IMAGES))
    static_int8.compress(fp32 / "image.onnx", tmp_path / "known.onnx", config, [], known)
    static_int8.compress(fp32 / "image.onnx", tmp_path / "measured.onnx", config, feeds(IMAGES))
    assert (tmp_path / "known.onnx").read_bytes() == (tmp_path / "measured.onnx").read_bytes()


def test_a_node_that_is_named_stays_fp32(fp32, tmp_path):
    source, made = fp32 / "image.onnx", tmp_path / "int8.onnx"
    (name,) = static_int8.quantisable(source)  # neither the pixels' convolution nor the head
    static_int8.compress(source, made, static_int8.Config(fp32=(name,)), feeds(IMAGES))
    assert static_int8.present(made) == 0
    assert graphs.share(made, static_int8.STORED) == 0


def test_a_name_that_no_node_has_is_refused(fp32, tmp_path):
    with pytest.raises(ConfigError, match="found 'head'; expected a node"):
        static_int8.compress(
            fp32 / "image.onnx", tmp_path / "int8.onnx", static_int8.Config(fp32=("head",)), feeds(IMAGES)
        )


class Sensitive(nn.Module):
    """Its second layer has one weight so large that 8 bits leave nothing of the others of its row."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(400, 32, padding_idx=0)
        self.layers = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))
        self.head = nn.Linear(32, 2)
        with torch.no_grad():
            self.layers[1].weight[:, 5] = 300.0

    def forward(self, ids):
        x = self.embedding(ids) * (torch.arange(32) != 5)  # what that weight reads is zero
        for layer in self.layers:
            x = torch.tanh(layer(x)) * (torch.arange(32) != 5)
        return self.head(x.amax(dim=1))


@pytest.fixture(scope="module")
def sensitive(tmp_path_factory):
    torch.manual_seed(0)
    source = tmp_path_factory.mktemp("sensitive") / "fp32.onnx"
    export.export(Sensitive().eval(), TEXTS, source)
    return source, static_int8.measure(source, "minmax", feeds(TEXTS))


def away(source):
    before = [graphs.answer(graphs.session(source))(feed) for feed in feeds(TEXTS)]

    def error(graph):
        answer = graphs.answer(graphs.session(graph))
        return float(np.mean([np.abs(answer(feed) - known).mean() for feed, known in zip(feeds(TEXTS), before)]))

    return error


def test_the_node_that_int8_hurts_most_is_left_fp32_and_that_is_enough(sensitive, tmp_path):
    source, ranges = sensitive
    error, config = away(source), static_int8.Config()
    static_int8.compress(source, tmp_path / "whole.onnx", config, [], ranges)
    bound = error(tmp_path / "whole.onnx") / 3
    left = static_int8.fallback(
        source, tmp_path / "made.onnx", config, ranges, error=error, passes=lambda graph: error(graph) < bound
    )
    assert left == (static_int8.quantisable(source)[2],)  # the table's look-up and the first layer stand before it
    assert error(tmp_path / "made.onnx") < bound
    assert static_int8.present(tmp_path / "made.onnx") == static_int8.present(tmp_path / "whole.onnx") - 1


@pytest.mark.parametrize(("most", "tried"), [(2, 2), (8, 5)])
def test_where_nothing_passes_it_ends_after_so_many_nodes(sensitive, tmp_path, most, tried):
    source, ranges = sensitive
    asked = []
    found = static_int8.fallback(
        source,
        tmp_path / "made.onnx",
        static_int8.Config(),
        ranges,
        error=away(source),
        passes=lambda graph: bool(asked.append(static_int8.present(graph))),
        most=most,
    )
    assert found is None
    assert asked == [4 - k for k in range(tried)]  # of the table and four layers, one fewer each time


class Chain(nn.Module):
    """Layers whose values are quantised before and after: what stays fp32 among them stands between codes."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.second, self.third = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.dense, self.head = nn.Linear(16, 128), nn.Linear(128, 128)

    def forward(self, images):
        x = (images.permute(0, 3, 1, 2).float() - 128) / 64  # which a graph reads by one DequantizeLinear
        x = torch.relu(self.third(torch.relu(self.second(torch.relu(self.first(x))))))
        return self.head(torch.relu(self.dense(x.amax(dim=(2, 3)))))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_stays_fp32_is_so_once_the_graph_is_loaded(tmp_path, channels):
    """ONNX Runtime makes int8 of it by one scale for all channels, unless it is kept from that."""
    torch.manual_seed(0)
    inputs = ImageInputs(12, 12, channels, (0.5,) * channels, (0.25,) * channels)
    source, made = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export.export(Chain(channels).eval(), inputs, source)
    _, second, dense, _ = static_int8.quantisable(source)[-4:]
    static_int8.compress(source, made, static_int8.Config(fp32=(second, dense)), feeds(inputs))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "loaded.onnx")
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    fp32 = [node for node in model.graph.node if stored.get((*node.input, "", "")[1]) == onnx.TensorProto.FLOAT]
    assert {node.op_type for node in fp32} >= {"Conv", "Gemm"}
    assert sum(node.op_type in ("Conv", "Gemm", "FusedConv", "FusedGemm") for node in fp32) == 3  # and the pixels'
