from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pipeline import export, graphs, network
from pipeline.compression import _fp32, _maps, _pixels, static_int8
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, TextInputs
from pipeline.models import resnet
from pipeline.targets import Target
from tests import graph_bytes

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
    weights = graph_bytes.weight_bytes(target)
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
    with pytest.raises(ConfigError, match="found 'head' among the nodes to leave fp32; expected nodes"):
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


COLOURS = ImageInputs(24, 24, 3, (0.2, 0.5, 0.7), (0.3, 0.25, 0.2))
"""Whose means differ, so that padding differs from any one grey level."""


class Pooled(nn.Module):
    """A stem as ResNet's: the pool after the activation."""

    def __init__(self, inputs, width, rises=True, again=False, window=7, step=2, pads=(2, 3), next=32):
        super().__init__()
        self.stem = nn.Conv2d(inputs.channels, width, window, step, pads)
        self.pool, self.next = nn.MaxPool2d(3, 2, 1), nn.Conv2d(width, next, 3, padding=1)
        self.squeeze, self.head = nn.Conv2d(next, next, 1), nn.Linear(next, 256)
        self.rises, self.again = rises, again

    def forward(self, images):
        x = self.stem(images)
        x = torch.relu(x) if self.rises else torch.abs(x)
        x = self.next(self.pool(x) + (x[..., ::2, ::2] if self.again else 0))
        x = torch.relu(x)
        x = x + self.squeeze(x.mean(dim=(2, 3), keepdim=True))
        return self.head(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def pooled(inputs, width, path, **how):
    torch.manual_seed(0)
    export.export(network.Normalised(Pooled(inputs, width, **how), inputs).eval(), inputs, path)
    return path


def logits(model, path, inputs):
    export.save(model, path)
    answer = graphs.answer(graphs.session(path))
    return [answer({"images": export.sample(inputs, count)}) for count in (1, 3)]


def after(model, operator):
    """The operators of the nodes that read what the first such node makes."""
    made = next(node.output[0] for node in model.graph.node if node.op_type == operator)
    return [node.op_type for node in model.graph.node if made in node.input]


def test_an_activation_goes_behind_the_pool_that_reads_it_for_the_same_answers(tmp_path):
    model = onnx.load(pooled(COLOURS, 8, tmp_path / "fp32.onnx"))
    before = logits(model, tmp_path / "before.onnx", COLOURS)
    _maps.pool_first(model, _fp32.nodes(model))
    onnx.checker.check_model(model, full_check=True)
    assert after(model, "Conv") == ["MaxPool"] and after(model, "MaxPool") == ["Relu"]
    for one, other in zip(before, logits(model, tmp_path / "after.onnx", COLOURS)):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("how", [{"rises": False}, {"again": True}])
def test_a_pool_stays_where_the_activation_may_fall_or_is_read_twice(tmp_path, how):
    model = onnx.load(pooled(COLOURS, 32, tmp_path / "fp32.onnx", **how))
    before = model.SerializeToString(deterministic=True)
    _maps.pool_first(model, _fp32.nodes(model))
    assert model.SerializeToString(deterministic=True) == before


def test_a_pool_over_codes_stays_behind_its_activation(tmp_path):
    model = onnx.load(pooled(COLOURS, 64, tmp_path / "fp32.onnx"))  # whose first convolution becomes int8
    _maps.pool_first(model, _fp32.nodes(model))
    assert after(model, "Conv") == ["Relu"] and after(model, "Relu") == ["MaxPool"]


def loaded(path, folder, *, laid_out=False):
    """The graph as ONNX Runtime runs it, before it is laid out for this CPU, or after."""
    level = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level.ORT_ENABLE_ALL if laid_out else level.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "loaded.onnx")


@pytest.mark.parametrize(("width", "made_by"), [(8, {"Conv", "FusedConv"}), (64, {"QLinearConv"})])
def test_what_the_pool_reads_once_loaded(tmp_path, width, made_by):
    """fp32 of an fp32 convolution, codes of an int8 one: no QuantizeLinear between."""
    source, made = pooled(COLOURS, width, tmp_path / "fp32.onnx"), tmp_path / "int8.onnx"
    static_int8.compress(source, made, static_int8.Config(), feeds(COLOURS))
    model = loaded(made, tmp_path)
    makers = {name: node for node in model.graph.node for name in node.output}
    pool = next(node for node in model.graph.node if node.op_type.endswith("MaxPool"))
    assert makers[pool.input[0]].op_type in made_by


def test_answers_that_were_made_side_by_side_are_moved_by_nothing(tmp_path):
    source, made = pooled(COLOURS, 16, tmp_path / "fp32.onnx", next=256), tmp_path / "int8.onnx"
    static_int8.compress(source, made, static_int8.Config(), feeds(COLOURS))
    model = loaded(made, tmp_path, laid_out=True)
    nodes = list(model.graph.node)
    stem = next(k for k, node in enumerate(nodes) if node.op_type == "QLinearConv")
    assert [node.op_type for node in nodes[stem : stem + 3]] == ["QLinearConv", "Reshape", "NhwcMaxPool"]
    before, found = (graphs.answer(graphs.session(path)) for path in (source, made))
    for feed in feeds(COLOURS):
        assert np.abs(before(feed) - found(feed)).max() < 0.05 * np.abs(before(feed)).max()


class Branched(nn.Module):
    """A stem whose answer is read several times, its activation among the readers."""

    def __init__(self, how):
        super().__init__()
        self.stem, self.how = nn.Conv2d(3, 16, 7, 2, 3), how
        self.ahead, self.next = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 256, 3, 2, 1)
        self.head = nn.Linear(256, 256)

    def forward(self, images):
        c = self.stem(images)
        relu = nn.functional.relu6 if self.how == "clipped twice" else torch.relu
        x = {
            "before the activation": lambda: c + self.ahead(relu(c)),
            "beside the activation": lambda: relu(c) + c,
            "clipped twice": lambda: relu(torch.relu(c)) + torch.relu(c),
            "clipped": lambda: nn.functional.relu6(c),
            "activated, then twice": lambda: relu(c) + self.ahead(relu(c)),
        }[self.how]()
        return self.head(torch.relu(self.next(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        ("before the activation", 1),
        ("beside the activation", 1),
        ("clipped twice", 1),
        ("clipped", 2),
        ("activated, then twice", 2),
    ],
)
def test_a_stem_is_int8_whatever_reads_its_answer(tmp_path, how, answers):
    torch.manual_seed(0)
    source, made = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export.export(network.Normalised(Branched(how), COLOURS).eval(), COLOURS, source)
    static_int8.compress(source, made, static_int8.Config(), feeds(COLOURS))
    sizes = {tensor.name: list(tensor.dims) for tensor in onnx.load(made).graph.initializer}
    (stem,) = (dims for name, dims in sizes.items() if "weights_quantized" in name and dims[1:2] in ([12], [24]))
    assert stem[0] == answers * 16
    before, found = (graphs.answer(graphs.session(path)) for path in (source, made))
    for feed in feeds(COLOURS):
        assert np.abs(before(feed) - found(feed)).max() < 0.05 * np.abs(before(feed)).max()


@pytest.mark.parametrize(
    ("sides", "width", "stem", "answers"),
    [
        ((24, 24), 64, {}, 1),
        ((25, 24), 64, {}, 1),  # one row more is needed below
        ((24, 31), 64, {"pads": (3, 3)}, 1),
        ((25, 23), 64, {"window": 3, "pads": 1}, 1),
        ((24, 24), 64, {"window": (4, 6), "pads": 0}, 1),
        ((25, 24), 64, {"window": 4, "pads": 0}, 0),  # a row would be left over, and make an answer
        ((24, 24), 64, {"step": 1}, 0),
        ((24, 24), 64, {"step": (2, 1)}, 0),
        ((24, 24), 16, {"next": 256}, 2),
        ((25, 22), 16, {"next": 256, "pads": (3, 4)}, 2),
        ((24, 22), 32, {"next": 256, "window": 5}, 2),
        ((24, 26), 16, {"next": 256, "window": (6, 9), "pads": (0, 2)}, 1),  # an odd number of answers beside another
        ((24, 24), 16, {"next": 256, "window": (6, 9), "pads": (0, 2), "rises": False}, 2),
        ((24, 24), 16, {"next": 32}, 1),  # the windows would be a large part of the network
    ],
)
def test_grey_levels_are_read_by_one_scale_for_the_same_answers(tmp_path, sides, width, stem, answers):
    inputs = replace(COLOURS, height=sides[0], width=sides[1])
    model = onnx.load(pooled(inputs, width, tmp_path / "fp32.onnx", **stem))
    before = logits(model, tmp_path / "before.onnx", inputs)
    model, overrides = _pixels.read_levels(model, _pixels.stem(model))
    onnx.checker.check_model(model, full_check=True)
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    in_blocks = "Split" in {node.op_type for node in model.graph.node}
    assert in_blocks * sizes[first.input[1]][0] == answers * width
    read = {name for node in model.graph.node for name in node.input} | {model.graph.output[0].name}
    assert all(read & set(node.output) for node in model.graph.node)
    found = logits(model, tmp_path / "after.onnx", inputs)
    scale = np.abs(before[0]).max()
    for one, other in zip(before, found):
        np.testing.assert_allclose(one, other, atol=1e-5 * scale)
    assert [item["scale"].shape for (item,) in overrides.values()] == [()]


def test_where_all_means_are_alike_the_padding_is_the_convolutions_own(tmp_path):
    alike = ImageInputs(24, 24, 3, (0.5,) * 3, (0.3, 0.25, 0.2))
    model = onnx.load(pooled(alike, 64, tmp_path / "fp32.onnx", step=1))
    before = logits(model, tmp_path / "before.onnx", alike)
    model, _ = _pixels.read_levels(model, _pixels.stem(model))
    assert "Expand" not in {node.op_type for node in model.graph.node}
    for one, other in zip(before, logits(model, tmp_path / "after.onnx", alike)):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "width", "step", "int8"),
    [
        (COLOURS, 64, 2, True),
        (COLOURS, 16, 2, True),
        (COLOURS, 8, 2, False),
        (COLOURS, 64, 1, True),
        (COLOURS, 32, 1, False),  # without blocks it costs more than it saves
        (IMAGES, 64, 2, False),
    ],
)
def test_a_large_convolution_over_colours_is_int8(tmp_path, inputs, width, step, int8):
    source, made = pooled(inputs, width, tmp_path / "fp32.onnx", step=step), tmp_path / "int8.onnx"
    first = next(node.name for node in onnx.load(source).graph.node if node.op_type == "Conv")
    assert (first in static_int8.quantisable(source)) == int8
    ranges = static_int8.measure(source, "minmax", feeds(inputs))
    static_int8.compress(source, made, static_int8.Config(), [], ranges)
    model = onnx.load(made)
    convolution = next(node for node in model.graph.node if node.name == first)
    makers = {name: node for node in model.graph.node for name in node.output}
    assert (convolution.input[1] in makers) == int8
    read = makers[convolution.input[0]]
    assert makers[read.input[0]].op_type == "Transpose"  # of the pixels: they are quantised by nothing
    before, found = (graphs.answer(graphs.session(path)) for path in (source, made))
    for feed in feeds(inputs):
        assert np.abs(before(feed) - found(feed)).max() < 0.05 * np.abs(before(feed)).max()
    static_int8.compress(source, made, static_int8.Config(fp32=(first,)), [], ranges)
    model = onnx.load(made)
    convolution = next(node for node in model.graph.node if node.name == first)
    assert convolution.input[1] in {tensor.name for tensor in model.graph.initializer}


def test_a_wide_stem_gives_the_same_bytes_again(tmp_path):
    source = pooled(COLOURS, 64, tmp_path / "fp32.onnx")
    for name in ("one", "two"):
        static_int8.compress(source, tmp_path / name, static_int8.Config(), feeds(COLOURS))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_mean_of_a_map_is_int8_where_int8_reads_it(tmp_path):
    source, made = pooled(COLOURS, 32, tmp_path / "fp32.onnx"), tmp_path / "int8.onnx"
    ranges = static_int8.measure(source, "minmax", feeds(COLOURS))
    static_int8.compress(source, made, static_int8.Config(), [], ranges)
    assert graphs.operators(made)["GlobalAveragePool"] == 2 and "ReduceMean" not in graphs.operators(made)
    head = next(node.name for node in onnx.load(source).graph.node if node.op_type == "Gemm")
    static_int8.compress(source, made, static_int8.Config(fp32=(head,)), [], ranges)
    found = graphs.operators(made)
    assert found["GlobalAveragePool"] == found["ReduceMean"] == 1


def test_answers_of_an_int8_head_are_not_codes(tmp_path):
    """One would have 256 values at most, and cut off what calibration has not seen."""
    source, made = pooled(COLOURS, 32, tmp_path / "fp32.onnx"), tmp_path / "int8.onnx"
    head = next(node.name for node in onnx.load(source).graph.node if node.op_type == "Gemm")
    assert head in static_int8.quantisable(source)
    static_int8.compress(source, made, static_int8.Config(), feeds(COLOURS))
    last = next(node for node in onnx.load(made).graph.node if node.output[0] == "logits")
    assert last.name == head
    answers = graphs.answer(graphs.session(made))({"images": export.sample(COLOURS, 8)})
    assert len(np.unique(answers)) > 1000
    assert "QGemm" in {node.op_type for node in loaded(made, tmp_path).graph.node}
