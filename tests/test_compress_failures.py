"""What users of compression tools meet, planted one by one: each is found, said in compress.json, and not served."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline import compress, export, reloading, shrinking, variants
from pipeline.errors import BudgetError
from tests.compressing_talk import STATIC, changed, entries, of_net


def plant(monkeypatch, spoil):
    """int8 graphs as they would be if the scheme did this to them before it wrote them."""
    static = variants.module("static_int8")
    real = static.compress

    def compress_and_spoil(source, target, *more):
        real(source, target, *more)
        model = onnx.load(target)
        spoil(model)
        target.write_bytes(model.SerializeToString(deterministic=True))

    monkeypatch.setattr(static, "compress", compress_and_spoil)


def against(entry, variant="static_int8"):
    """What was said against a variant, of which something else is served."""
    assert entry["chosen"] not in (variant, "eager") and not entry["variants"][entry["chosen"]]["rejected"]
    return "; ".join(entry["variants"][variant]["rejected"])


def test_a_sound_int8_model_is_served(trained_talk, talk, monkeypatch, tmp_path):
    entry = of_net(trained_talk, changed(talk, **STATIC, min_speedup=0), monkeypatch, tmp_path)
    assert entry["chosen"] == "static_int8" and entry["notes"] == {"static_int8": "minmax"}


def test_corrupted_scales_are_caught_in_the_whole_stage(trained_talk, talk, monkeypatch, tmp_path):
    def spoil(model):
        name = next(node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear")
        scale = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        scale.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(scale)), name))

    plant(monkeypatch, spoil)
    shutil.copytree(trained_talk, tmp_path / "talk")
    monkeypatch.chdir(tmp_path / "talk")
    compress.main(changed(talk, **STATIC, min_speedup=0))
    for name in ("net", "baseline"):
        assert "scales that are no positive numbers" in against(entries(tmp_path / "talk")[name])
        assert [path.name for path in Path(f"data/compressed/talk/{name}").iterdir()] == ["fp32.onnx"]


def test_a_quantiser_that_silently_left_the_weights_fp32_is_caught(trained_talk, talk, monkeypatch, tmp_path):
    static = variants.module("static_int8")
    monkeypatch.setattr(static, "compress", lambda source, target, *_: shutil.copyfile(source, target))
    monkeypatch.setattr(static, "present", lambda graph: 1)
    entry = of_net(trained_talk, changed(talk, **STATIC, min_speedup=0), monkeypatch, tmp_path)
    assert "0% of its weights are int8 or uint8; expected 50% at least" in against(entry)


def test_a_pruned_model_exported_at_full_size_is_caught(trained_talk, talk, monkeypatch, tmp_path):
    real, whole = export.export, []

    def at_full_size(net, inputs, path):
        whole.append(net)
        real(whole[0] if path.name.startswith("narrowed") else net, inputs, path)

    monkeypatch.setattr(shrinking.export, "export", at_full_size)
    settings = STATIC | {"prune": {"levels": [0.7], "distil": "off", "epochs": 1}, "min_speedup": 0}
    entry = of_net(trained_talk, changed(talk, **settings), monkeypatch, tmp_path)
    assert "it was exported at full size" in against(entry, "narrowed_1-fp32")
    assert "it was exported at full size" in against(entry, "narrowed_1-static_int8")


def test_an_int8_model_that_is_slower_than_fp32_is_caught(trained_talk, talk, monkeypatch, tmp_path):
    """Its last node waits for products of matrices that add nothing to the answer."""

    def spoil(model):
        graph, (output,) = model.graph, model.graph.output
        last = next(node for node in graph.node if node.output[0] == output.name)
        last.output[0] = "answer"
        constants = {"side": np.array([300, 300], np.int64), "nothing": np.array(0, np.float32)}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        graph.node.extend(
            [
                helper.make_node("ReduceMean", ["answer"], ["mean"], keepdims=0),
                helper.make_node("Expand", ["mean", "side"], ["wide"]),
                helper.make_node("MatMul", ["wide", "wide"], ["product"]),
                helper.make_node("ReduceMean", ["product"], ["one"], keepdims=0),
                helper.make_node("Mul", ["one", "nothing"], ["idle"]),
                helper.make_node("Add", ["answer", "idle"], [output.name]),
            ]
        )

    plant(monkeypatch, spoil)
    entry = of_net(trained_talk, changed(talk, **STATIC), monkeypatch, tmp_path)
    found = against(entry)
    assert "0.0" in found and "× as fast as fp32; at least 1.2× is asked" in found


def test_a_class_that_collapses_while_the_average_is_within_its_budget_is_caught(
    trained_talk, talk, monkeypatch, tmp_path
):
    """Every answer is `bad`: half of all are right, as the headline's budget allows, and none that is `good`."""

    def spoil(model):
        (output,) = model.graph.output
        last = next(node for node in model.graph.node if node.output[0] == output.name)
        last.output[0] = "answer"
        model.graph.initializer.append(numpy_helper.from_array(np.array([50, 0], np.float32), "leaning"))
        model.graph.node.append(helper.make_node("Add", ["answer", "leaning"], [output.name]))

    plant(monkeypatch, spoil)
    asked = {"budget": {"max_drop": 0.9}, "min_speedup": 0}
    found = against(of_net(trained_talk, changed(talk, **STATIC, **asked), monkeypatch, tmp_path))
    assert found.startswith("recall of good ") and "lower; at most 0.05 may be" in found and "macro_f1" not in found


def test_a_graph_that_answers_otherwise_in_a_fresh_process_is_caught(trained_talk, talk, monkeypatch, tmp_path):
    """Its bytes are right, and what it answers is drawn at every call."""

    def spoil(model):
        (output,) = model.graph.output
        last = next(node for node in model.graph.node if node.output[0] == output.name)
        last.output[0] = "answer"
        drawn = helper.make_node("RandomNormalLike", ["answer"], ["noise"], scale=0.5, dtype=TensorProto.FLOAT)
        model.graph.node.extend([drawn, helper.make_node("Add", ["answer", "noise"], [output.name])])

    plant(monkeypatch, spoil)
    asked = {"budget": {"max_drop": 1, "class_drop": 1}, "min_speedup": 0}
    found = against(of_net(trained_talk, changed(talk, **STATIC, **asked), monkeypatch, tmp_path))
    assert "in a fresh process it answers otherwise, by up to 0." in found


def test_where_fp32_does_not_work_nothing_is_served(trained_talk, talk, monkeypatch, tmp_path):
    monkeypatch.setattr(reloading, "SECONDS", 0.01)
    with pytest.raises(BudgetError, match="found no graph that works, fp32 neither: it did not answer within"):
        of_net(trained_talk, changed(talk, **STATIC), monkeypatch, tmp_path)
