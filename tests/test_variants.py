"""Which schemes suit a graph, how they are written, and which nodes stay fp32."""

import onnx
import pytest
import torch
from torch import nn

from pipeline import export, graphs, variants
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, TextInputs
from pipeline.variants import Calibration
from tests import graph_bytes

IMAGES, TEXTS = ImageInputs(16, 16, 3, (0.5,) * 3, (0.25,) * 3), TextInputs(500, 12)
ANY = ("auto",)


@pytest.mark.parametrize(
    ("asked", "operators", "kind", "found"),
    [
        (ANY, ["Conv", "Gemm"], "image", ["fp16", "static_int8"]),
        (ANY, ["Conv", "Softmax"], "image", ["fp16", "dynamic_int8"]),
        (ANY, ["Gather", "Conv"], "text",
         ["fp16", "static_int8", "embedding_int8", "embedding_int4", "embedding_int4+static_int8"]),
        (ANY, ["Gather", "GRU"], "text",
         ["fp16", "dynamic_int8", "embedding_int8", "embedding_int4", "embedding_int4+dynamic_int8"]),
        (ANY, ["Gather", "ReduceSum"], "linear", ["fp16", "dynamic_int8"]),
        (("bf16", "fp16+static_int8"), ["Gather", "GRU"], "text", ["bf16", "fp16+static_int8"]),
        (("fp16",), ["Gather"], "linear", ["fp16"]),
    ],
)  # fmt: skip
def test_schemes_are_those_that_suit_the_operators_or_those_asked_for(asked, operators, kind, found):
    assert variants.schemes(asked, operators, linear=kind == "linear", text=kind != "image") == found


def test_an_unknown_scheme_is_named_with_those_there_are():
    variants.check(("auto",), "s")
    variants.check(("fp16", "embedding_int4+dynamic_int8"), "s")
    for wrong, words in (
        ("in8", r"found 'in8'; expected one of bf16, dynamic_int8, .*"),
        ("embedding_int4+static_in8", r"found 'static_in8'.*did you mean 'static_int8'"),
        ("_tables", "found '_tables'"),
        ("fp16+", "found ''"),
        ("auto+fp16", "found 'auto'"),
        ("fp32", "found 'fp32'"),
        ("static_int8+mixed", "found 'mixed'"),
    ):
        with pytest.raises(ConfigError, match=f"^compress.schemes: {words}"):
            variants.check(("fp16", wrong), "compress.schemes")


@pytest.mark.parametrize(
    ("scheme", "stored"),
    [
        ("fp32", set()),
        ("fp16", {"float16"}),
        ("static_int8", {"int8", "uint8"}),
        ("static_int8+mixed", {"int8", "uint8"}),
        ("embedding_int4+fp16", {"uint8", "float16"}),
    ],
)
def test_a_chain_stores_what_its_parts_do(scheme, stored):
    assert variants.stored(scheme) == stored


class Image(nn.Module):
    """Of its four convolutions the second has weights of one size, or a few that are huge."""

    def __init__(self, outlier=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 16), (16, 32), (32, 32)))
        self.fourth = nn.Conv2d(32, 32, 3, 1, 1)
        self.head = nn.Linear(32, 3)
        with torch.no_grad():
            self.second.weight[:, 0] *= outlier

    def forward(self, images):
        x = torch.relu(self.first(images.permute(0, 3, 1, 2).float() / 255))
        x = torch.relu(self.third(torch.relu(self.second(x))))
        return self.head(torch.relu(self.fourth(x)).mean(dim=(2, 3)))


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.convolution = nn.Embedding(500, 32), nn.Conv1d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.convolution(self.embedding(ids).transpose(1, 2))).amax(dim=2))


def exported(net, inputs, folder):
    export.export(net.eval(), inputs, folder / "fp32.onnx")
    return folder / "fp32.onnx"


def calibration(inputs, methods=("minmax",), count=12):
    name, batch = ("images" if inputs is IMAGES else "ids"), export.sample(inputs, count)
    feeds = [{name: batch[k : k + 1]} for k in range(count)]

    def answers(graph):
        return graphs.answer(graphs.session(graph))({name: batch})

    return Calibration(feeds, methods, answers)


def test_the_parts_of_a_chain_are_applied_one_after_the_other(tmp_path):
    source, known = exported(Text(), TEXTS, tmp_path), calibration(TEXTS)
    found = variants.write(source, tmp_path / "chain.onnx", "embedding_int4+static_int8", known)
    assert found.scheme == "embedding_int4+static_int8" and found.note == "minmax"
    operators = graphs.operators(found.path)
    assert operators["GatherBlockQuantized"] == 1 and operators["DequantizeLinear"] > 1
    assert graph_bytes.weight_bytes(found.path).get("float32", 0) < 0.1 * graph_bytes.weight_bytes(source)["float32"]
    assert variants.distance(known.answers(found.path), known.answers(source)) < 0.1
    onnx.checker.check_model(onnx.load(source))  # which is still the source


def test_where_nothing_has_the_form_there_is_no_graph(tmp_path):
    source, known = exported(Image(), IMAGES, tmp_path), calibration(IMAGES)
    for scheme in ("embedding_int8", "embedding_int4+static_int8"):
        assert variants.write(source, tmp_path / "none.onnx", scheme, known) is None
    assert not (tmp_path / "none.onnx").exists()


def test_the_calibration_whose_answers_are_nearest_is_taken(tmp_path):
    """All feeds but one are dark, and the methods differ in whether their ranges reach as far as the bright one's."""
    source, known = exported(Image(), IMAGES, tmp_path), calibration(IMAGES, variants.METHODS)
    feeds = [{"images": feed["images"] // 64} for feed in known.feeds[:-1]] + [known.feeds[-1]]
    known = Calibration(feeds, variants.METHODS, known.answers)
    errors = {}
    for method in variants.METHODS:
        path = tmp_path / f"{method}.onnx"
        one = Calibration(feeds, (method,), known.answers)
        assert variants.write(source, path, "static_int8", one).note == method
        errors[method] = variants.distance(known.answers(path), known.answers(source))
    best = variants.write(source, tmp_path / "best.onnx", "static_int8", known)
    assert best.note == min(errors, key=errors.get) and errors[best.note] < max(errors.values())
    assert best.path.read_bytes() == (tmp_path / f"{best.note}.onnx").read_bytes()


def mixed(tmp_path, most):
    """Mixed int8 whose answers may be so far from fp32's at most, by the share of the distance that int8's have."""
    source, known = exported(Image(outlier=60.0), IMAGES, tmp_path), calibration(IMAGES)
    int8 = variants.write(source, tmp_path / "int8.onnx", "static_int8", known)
    away = variants.distance(known.answers(int8.path), known.answers(source))
    tried = []

    def passes(graph):
        tried.append(variants.distance(known.answers(graph), known.answers(source)) / away)
        return tried[-1] <= most

    return variants.mixed(source, int8, tmp_path / "mixed.onnx", known, passes), tried, source


def test_the_layer_that_int8_spoils_stays_fp32(tmp_path):
    """One channel's weights are sixty times the others', so that a step of int8 is larger than most of them."""
    found, tried, source = mixed(tmp_path, most=0.7)
    assert found.scheme == "static_int8+mixed" and tried[-1] <= 0.7
    left = found.note.removeprefix("minmax; fp32: ").split(", ")
    model = onnx.load(source)
    sizes = {node.name: [t.dims for t in model.graph.initializer if t.name in node.input] for node in model.graph.node}
    (spoilt,) = [name for name, dims in sizes.items() if [32, 16, 3, 3] in dims]
    assert len(left) == len(tried) and left[0] == spoilt
    kept = graph_bytes.weight_bytes(found.path)["float32"]
    assert kept < graph_bytes.weight_bytes(source)["float32"] and graphs.quantised(found.path)


def test_where_no_few_nodes_help_there_is_no_graph(tmp_path):
    found, tried, _ = mixed(tmp_path, most=-1)
    assert found is None and 0 < len(tried) <= 8 and not (tmp_path / "mixed.onnx").exists()
