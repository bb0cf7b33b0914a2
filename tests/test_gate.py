from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from pipeline import export, gate, variants
from pipeline.budget import Limits
from pipeline.errors import BudgetError
from pipeline.examples import ImageInputs
from pipeline.gate import Variant
from pipeline.metrics import Interval

IMAGES = ImageInputs(16, 16, 3, (0.5,) * 3, (0.25,) * 3)
LIMITS = Limits(0.02, {"rare": 0.05}, None, None, None, "point")


def variant(size=1000, speed=1.0, drop=0.0, rare=0.0, *, wide=0.01, score=0.9, agreement=1.0, engine="onnxruntime"):
    return Variant(
        "trained", "int8", engine, size, 100, {"macro_f1": score}, agreement, "trained",
        drop=Interval(drop, drop - wide, drop + wide),
        class_drops={"rare": Interval(rare, rare - 0.1, rare + 0.1)},
        latency_ms={"1": {"median": 1 / speed, "p95": 2 / speed}},
    )  # fmt: skip


def judged(limits=LIMITS, **others):
    every = {"eager": variant(4000, 0.25, engine="pytorch"), "fp32": variant(4000)} | others
    gate.reject(every, limits, "macro_f1", 1.2, 1)
    gate.mark_pareto(every, "macro_f1", 1)
    return every


def test_the_smallest_that_passes_is_chosen_and_not_the_fastest():
    every = judged(small=variant(500, 1.5), fast=variant(600, 9.0))
    assert gate.choose(every, LIMITS, 1) == "small"
    words = gate.reason(every, "small", "macro_f1", LIMITS, 1)
    assert "6.0× as fast as eager PyTorch" in words and "8.0× smaller" in words


@pytest.mark.parametrize(("speed", "chosen"), [(1.3, "other"), (1.1, "fp32")])
def test_the_same_bytes_in_another_engine_may_be_worth_its_speed(speed, chosen):
    """It loses nothing, so what is no smaller is no argument; of the same engine it is."""
    every = judged(other=variant(4000, speed, engine="openvino"), same=variant(4000, 9.0))
    assert gate.choose(every, LIMITS, 1) == chosen
    assert every["same"].rejected == ["no smaller than fp32"]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (variant(500, 1.1), "1.10× as fast as fp32; at least 1.2× is asked"),
        (variant(500, 0.25), "0.25× as fast as fp32"),
        (variant(4000, 2.0), "no smaller than fp32"),
        (variant(500, 2.0, drop=0.021), "macro_f1 0.0210 lower; at most 0.02 may be"),
        (variant(500, 2.0, drop=0.001, rare=0.4), "recall of rare 0.400 lower; at most 0.05 may be"),
    ],
)
def test_what_speaks_against_a_variant_is_said_and_fp32_is_served(one, words):
    every = judged(one=one)
    assert any(words in reason for reason in every["one"].rejected)
    assert gate.choose(every, LIMITS, 1) == "fp32"
    assert words in gate.reason(every, "fp32", "macro_f1", LIMITS, 1)


def test_a_class_that_collapses_while_the_average_holds_is_caught():
    every = judged(one=variant(500, 2.0, drop=-0.01, rare=1.0))
    assert every["one"].rejected == ["recall of rare 1.000 lower; at most 0.05 may be"]


def test_the_upper_end_of_the_interval_is_stricter_than_the_point():
    one = variant(500, 2.0, drop=0.015, wide=0.01)
    assert gate.choose(judged(one=one), LIMITS, 1) == "one"
    strict = replace(LIMITS, bound="upper_95")
    every = judged(strict, one=variant(500, 2.0, drop=0.015, wide=0.01))
    assert every["one"].rejected == ["macro_f1 0.0250 lower at the upper end of its 95% interval; at most 0.02 may be"]
    assert judged(strict, one=variant(500, 2.0, drop=0.005, wide=0.01))["one"].rejected == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (replace(LIMITS, bytes=400), "500 bytes; at most 400 may be"),
        (replace(LIMITS, speedup=10.0), "8.0× as fast as eager PyTorch; at least 10× is asked"),
    ],
)
def test_a_budget_that_nothing_keeps_is_an_error_with_the_nearest_variants_figures(limits, words):
    every = judged(limits, near=variant(500, 2.0), far=variant(3000, 1.3))
    with pytest.raises(BudgetError, match=r"nearest is near: 500 bytes, 8\.0× as fast") as caught:
        gate.choose(every, limits, 1)
    assert words in str(caught.value) and caught.value.exit_code == 4


def test_answers_that_differ_from_the_trained_networks_count():
    every = judged(replace(LIMITS, disagreement=0.02), one=variant(500, 2.0, agreement=0.97))
    assert every["one"].rejected == ["3.0% of its answers differ; at most 2.0% may"]


def test_where_fp32_itself_fails_nothing_is_served():
    every = judged()
    every["fp32"].rejected.append("planted")
    with pytest.raises(BudgetError, match="planted"):
        gate.choose(every, LIMITS, 1)


def test_fp32_may_keep_a_budget_that_nothing_else_does():
    every = judged(replace(LIMITS, bytes=5000), one=variant(500, 2.0, drop=0.5))
    assert gate.choose(every, replace(LIMITS, bytes=5000), 1) == "fp32"


def test_the_examples_that_a_tighter_bound_needs():
    assert gate.needed(Interval(0.01, -0.01, 0.03), LIMITS, 400) == 1600  # half as wide, four times as many
    assert gate.needed(Interval(0.02, 0.0, 0.04), LIMITS, 400) is None
    assert gate.needed(None, LIMITS, 400) is None


def test_the_pareto_set_has_what_nothing_beats():
    every = judged(
        best=variant(500, 2.0, score=0.9),
        beaten=variant(500, 1.9, score=0.9),
        surer=variant(900, 1.0, score=0.95),
    )
    assert {name for name, one in every.items() if one.pareto} == {"best", "surer"}


class Image(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        widths = ((3, 16, 3, 2, 1), (16, width, 3, 1, 1), (width, 32, 3, 2, 1))
        self.body = nn.Sequential(*(part for shape in widths for part in (nn.Conv2d(*shape), nn.ReLU())))
        self.head = nn.Linear(32, 3)

    def forward(self, images):
        return self.head(self.body(images.permute(0, 3, 1, 2).float() / 255).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An fp32 graph, its int8 graph and the network's parameters."""
    torch.manual_seed(0)
    folder, net = tmp_path_factory.mktemp("gate"), Image().eval()
    export.export(net, IMAGES, folder / "fp32.onnx")
    images = export.sample(IMAGES, 8)
    feeds = [{"images": images[k : k + 1]} for k in range(8)]
    known = variants.Calibration(feeds, ("minmax",), lambda _: np.zeros(1))
    assert variants.write(folder / "fp32.onnx", folder / "int8.onnx", "static_int8", known)
    return folder, sum(p.numel() for p in net.parameters())


def stored():
    return variants.stored("static_int8")


def test_a_sound_graph_has_no_faults(made):
    folder, parameters = made
    assert gate.faults(folder / "int8.onnx", stored(), parameters) == []
    assert gate.faults(folder / "fp32.onnx", (), parameters) == []


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_corrupted_scales_are_caught(made, tmp_path, value):
    folder, parameters = made
    model = onnx.load(folder / "int8.onnx")
    name = next(node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear")
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    scale.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(scale), value), name))
    onnx.save(model, tmp_path / "bad.onnx")
    (found,) = gate.faults(tmp_path / "bad.onnx", stored(), parameters)
    assert "scales that are no positive numbers" in found


def test_a_quantiser_that_left_the_weights_fp32_is_caught(made):
    folder, parameters = made
    (found,) = gate.faults(folder / "fp32.onnx", stored(), parameters)
    assert "0% of its weights are int8 or uint8; expected 50% at least" in found


def test_a_pruned_model_exported_at_full_size_is_caught(tmp_path):
    """Masks leave the zeros in the file: the network says that it has a quarter of the weights that its graph has."""
    torch.manual_seed(0)
    wide, narrow = Image(512).eval(), Image(32)
    export.export(wide, IMAGES, tmp_path / "masked.onnx")
    parameters = sum(p.numel() for p in narrow.parameters())
    (found,) = gate.faults(tmp_path / "masked.onnx", (), parameters)
    assert "it was exported at full size" in found
