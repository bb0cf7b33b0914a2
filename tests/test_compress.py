"""The stage on a small real project, with its own graphs, fresh processes and latencies."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import compress, eager, export, graphs, inference, making, prepared, quality, weighing
from pipeline.config import Task, parse
from pipeline.errors import ConfigError, DataError
from pipeline.examples import ImageInputs, Split
from pipeline.targets import Target
from pipeline.weighing import Made, Source
from tests.compressing_talk import STATIC, WANTED, changed, entries, of_net

ROOT = Path(__file__).parents[1]
IMAGES = ImageInputs(16, 16, 1, (0.5,), (0.25,))
AB = Target("classes", ("bad", "good"))


def test_the_settings_are_read_and_an_impossible_one_is_named():
    found = parse(compress.Config, {"budget": {"max_drop": 0.5}, "schemes": ["fp16", "static_int8"]}, "compress")
    assert found.budget.max_drop == 0.5 and found.schemes == ("fp16", "static_int8")
    for section, words in (
        ({"budget": {"max_drop": 2}}, r"compress\.budget\.max_drop: found 2"),
        ({"schemes": []}, r"compress\.schemes: found \[\]"),
        ({"engines": []}, r"compress\.engines: found \[\]; expected different ones, or \[auto\]"),
        ({"schemes": ["fp16", "fp16"]}, r"compress\.schemes: found \['fp16', 'fp16'\]; expected different"),
        ({"prune": {"levels": [0.5, 0.3]}}, r"compress\.prune\.levels: found \[0\.5, 0\.3\]; expected rising"),
        ({"calibration": "mean"}, r"compress\.calibration: found 'mean'; expected one of best"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse(compress.Config, section, "compress")


@pytest.fixture(scope="module")
def compressed(trained_talk, talk, tmp_path_factory):
    root = tmp_path_factory.mktemp("compressed") / "talk"
    shutil.copytree(trained_talk, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        compress.main(talk)
    return root


def test_both_candidates_have_their_graphs_and_figures(compressed):
    for name, scheme in (("net", "static_int8"), ("baseline", "dynamic_int8")):
        found = entries(compressed)[name]
        assert {"eager", "fp32", "fp16", scheme} <= found["variants"].keys()
        assert found["variants"]["fp32"]["agreement"] == 1
        for variant, figures in found["variants"].items():
            assert 0 <= figures["validation"]["macro_f1"] <= 1
            assert variant == "eager" or figures["memory"] > 0
            assert figures["network"] == "trained" and figures["reference"] == "trained"
            for taken in figures["latency_ms"].values():
                assert 0 < taken["median"] <= taken["p95"]
        assert set(found["variants"]["fp32"]["latency_ms"]) == {"1", "32"}
        assert found["max_drop"] == found["budget"]["max_drop"] == 0.02
        assert found["judged"] == {"by": "validation", "examples": 240, "classes": ["bad", "good"]}
        assert found["drop"] is None or found["drop"]["low"] <= found["drop"]["value"] <= found["drop"]["high"]
        times = {key: value["latency_ms"]["1"]["median"] for key, value in found["variants"].items() if
                 value["latency_ms"]}  # fmt: skip
        assert found["speedup"]["vs_eager"] == pytest.approx(times["eager"] / times[found["chosen"]])
        assert found["speedup"]["vs_onnx_fp32"] == pytest.approx(times["fp32"] / times[found["chosen"]])


def test_what_is_served_fp32_and_the_pareto_set_stay_and_nothing_else(compressed):
    for name in ("net", "baseline"):
        found, folder = entries(compressed)[name], compressed / f"data/compressed/talk/{name}"
        kept = {path.stem: path for path in folder.iterdir()}
        front = {key for key, one in found["variants"].items() if one["pareto"] and not one["rejected"]}
        expected = front | {"fp32", found["chosen"]}
        assert kept.keys() == {name.partition("@")[0] for name in expected}  # engines share files
        for key, path in kept.items():
            assert found["variants"][key]["bytes"] == path.stat().st_size
            onnx.checker.check_model(onnx.load(path))


def test_the_linear_graph_answers_as_the_baseline(compressed):
    saved = np.load(compressed / "data/baseline/talk/validation.probabilities.npy")
    labels = prepared.labels(compressed / "data/prepared/talk", "validation")
    expected = quality.figures(quality.Config(), labels, saved, AB)
    found = entries(compressed)["baseline"]["variants"]["fp32"]["validation"]
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-5)


def test_the_tracker_gets_every_variants_figures(compressed):
    points = compress.points(entries(compressed), "macro_f1")
    assert all(np.isfinite(value) for value in points.values()) and not any("+" in name for name in points)
    assert {"net/fp32/bytes", "net/static_int8/macro_f1", "net/static_int8/latency_ms_p95_batch_32"} <= points.keys()
    assert points["net/fp32/passes"] == 1 and points["net/speedup_vs_eager"] > 0


def test_a_second_run_keeps_graphs_choice_and_latencies(compressed, talk, monkeypatch):
    monkeypatch.chdir(compressed)
    folder = compressed / "data/compressed/talk"

    def bytes_of():
        return {path: path.read_bytes() for path in folder.rglob("*.onnx")}

    def told():
        """Without the memory of a process, which is not the same twice."""
        found = entries(compressed)
        for figures in [figures for entry in found.values() for figures in entry["variants"].values()]:
            figures["memory"] = None
        return found

    before, graphs_before = told(), bytes_of()
    assert len(list((compressed / ".danlu/profiles").iterdir())) == 2
    compress.main(talk)
    assert bytes_of() == graphs_before and told() == before
    assert len(list((compressed / ".danlu/profiles").iterdir())) == 2


def test_a_kept_profile_is_used_and_decides(trained_talk, talk, monkeypatch, tmp_path):
    entry = of_net(trained_talk, changed(talk, **STATIC), monkeypatch, tmp_path)
    assert entry["variants"]["static_int8"]["latency_ms"]
    (path,) = (tmp_path / "talk/.danlu/profiles").iterdir()
    same = {size: {"median": 1.0, "p95": 2.0} for size in ("1", "32")}
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), same)))
    entry = of_net(None, changed(talk, **STATIC), monkeypatch, tmp_path)
    assert entry["chosen"] == "fp32" and "1.00× as fast as fp32; at least 1.2× is asked" in entry["reason"]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"evaluate": {"binary": {"yes": ["goood"]}}}, r"tasks\.talk\.evaluate\.binary\.yes.*did you mean 'good'"),
        ({"compress": {"schemes": ["static_in8"]}}, r"talk\.compress\.schemes: found 'static_in8'.*'static_int8'"),
        ({"compress": {"engines": ["tensorrt"]}}, r"talk\.compress\.engines: found 'tensorrt'; expected auto, or of "),
        ({"compress": {"schemes": ["auto+fp16"]}}, r"talk\.compress\.schemes: found 'auto'; expected one of bf16"),
    ],
)
def test_what_nothing_has_stops_before_anything_is_written(trained_talk, talk, monkeypatch, tmp_path, sections, words):
    shutil.copytree(trained_talk, tmp_path / "talk")
    monkeypatch.chdir(tmp_path / "talk")
    with pytest.raises(ConfigError, match=words):
        compress.main(Task("talk", "text", {**talk.raw, **sections}))
    assert not Path("data/compressed/talk").exists()


def test_where_openvino_is_installed_each_graph_is_measured_in_it_too(trained_talk, talk, monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    entry = of_net(trained_talk, changed(talk, **STATIC, min_speedup=0), monkeypatch, tmp_path)
    variants = entry["variants"]
    assert variants.keys() == {"eager", "fp32", "static_int8", "fp32@openvino", "static_int8@openvino"}
    for name in ("fp32", "static_int8"):
        ours, other = variants[name], variants[f"{name}@openvino"]
        assert (ours["engine"], other["engine"]) == ("onnxruntime", "openvino")
        assert ours["bytes"] == other["bytes"] and other["scheme"] == ours["scheme"] and other["memory"] > 0
        assert ours["latency_ms"]["1"] != other["latency_ms"]["1"]
    assert entry["graph"] == "static_int8.onnx" and entry["engine"] == variants[entry["chosen"]]["engine"]
    assert (tmp_path / "talk/out/static_int8.onnx").is_file()
    points = compress.points({"net": entry}, "macro_f1")
    assert "net/fp32-openvino/bytes" in points and not any("@" in name for name in points)


def test_openvino_is_served_where_it_is_the_faster_one(trained_talk, talk, monkeypatch, tmp_path):
    """The same bytes and the same file, whichever engine is chosen."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(weighing.profiling, "_measured", lambda calls, examples, files, device: {
        name: {"1": {"median": 0.1 if name == "fp32@openvino" else 1.0, "p95": 1.0}} for name in [*calls, *files]
    })  # fmt: skip
    entry = of_net(trained_talk, changed(talk, **STATIC), monkeypatch, tmp_path)
    assert (entry["chosen"], entry["engine"], entry["graph"]) == ("fp32@openvino", "openvino", "fp32.onnx")
    assert entry["speedup"]["vs_onnx_fp32"] == pytest.approx(10)


def test_a_graph_that_an_engine_cannot_run_is_left_out_of_it_and_said(trained_talk, talk, monkeypatch, tmp_path):
    openvino = inference.engine("openvino")

    def load(graph, threads):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(openvino, "installed", lambda: True)
    monkeypatch.setattr(openvino, "load", load)
    entry = of_net(trained_talk, changed(talk, **STATIC), monkeypatch, tmp_path)
    assert not any("@" in name for name in entry["variants"])
    assert {"name": "fp32@openvino", "reason": "openvino cannot run it: no such operator"} in entry["left"]


def test_what_pytorch_compiles_is_told_and_never_served(trained_talk, talk, monkeypatch, tmp_path):
    """As on a GPU: here of the CPU, without code of its own. A compiler's error leaves the one out, with its reason."""
    compiled = eager.compiled

    def on_cpu(net, device):
        def fails(feed):
            raise RuntimeError("no kernel")

        return {"torch_bf16": compiled(net, device, torch.bfloat16, "eager"), "torch_fp16": fails}

    monkeypatch.setattr(eager, "in_16_bits", on_cpu)
    entry = of_net(trained_talk, changed(talk, **STATIC, engines=["onnxruntime"]), monkeypatch, tmp_path)
    found = entry["variants"]["torch_bf16"]
    assert found["engine"] == "pytorch" and found["scheme"] == "bf16" and not found["pareto"]
    assert found["latency_ms"]["32"]["median"] > 0 and 0.9 < found["agreement"] <= 1
    assert entry["variants"][entry["chosen"]]["engine"] == "onnxruntime" and "torch_fp16" not in entry["variants"]
    assert {"name": "torch_fp16", "reason": "PyTorch cannot compile it: no kernel"} in entry["left"]


class Convolution(nn.Module):
    """Nothing but a convolution, which the dynamic scheme leaves alone."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)

    def forward(self, images):
        return self.convolution(images.permute(0, 3, 1, 2).float() / 255).mean(dim=(2, 3))


def test_where_nothing_has_a_form_in_a_scheme_fp32_stays_and_it_is_said(tmp_path):
    torch.manual_seed(0)
    net = Convolution().eval()
    export.export(net, IMAGES, tmp_path / "fp32.onnx")
    labels = np.arange(20) % 2
    split = Split(labels, np.eye(2, dtype=np.float32)[labels], images=export.sample(IMAGES, 20))

    def eager(feed):
        with torch.inference_mode():
            return net(torch.from_numpy(feed["images"])).numpy()

    examples = graphs.of_net(split, IMAGES)
    source = Source("net", eager, 100, examples, examples, AB)
    settings = parse(compress.Config, {"schemes": ["dynamic_int8"], "examples": 8, "target": {"rounds": 10}}, "s")
    work = weighing.begin(Task("toy", "image", {}), source, settings, WANTED, tmp_path)
    making.put_into_graphs(work, Made("trained", 20, tmp_path / "fp32.onnx", "trained"), making.calibration(work))
    found = weighing.finish(work, tmp_path / "profiles")
    assert found["chosen"] == "fp32" and found["variants"].keys() == {"eager", "fp32"}
    assert found["left"] == [{"name": "dynamic_int8", "reason": "nothing in its graph has such a form"}]
    assert found["reason"].endswith("there is no other variant")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp32.onnx", "profiles"]


SECTIONS = ("validate", "prepare", "features", "baseline", "tune", "train", "crossvalidate", "suspects")


def test_a_budget_that_cannot_be_met_ends_with_4_and_leaves_what_there_was(compressed, talk, monkeypatch, tmp_path):
    root = tmp_path / "talk"
    shutil.copytree(compressed, root)
    (root / "talk.csv").write_text("text,label\na,bad\nb,good\n")
    block = {name: {} for name in (*SECTIONS, "register")} | talk.raw | {"kind": "text", "model": {"name": "textcnn"}}
    block |= {"source": {"name": "text_table", "path": "talk.csv"}}
    block |= changed(talk, **STATIC, budget={"bytes": 10}).raw
    (root / "params.yaml").write_text(json.dumps({"tasks": {"talk": block}}))
    before = {path: path.read_bytes() for path in (root / "data").rglob("*") if path.is_file()}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DANLU_"))}
    command = [sys.executable, "-m", "pipeline.compress", "talk"]
    done = subprocess.run(
        command, cwd=root, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("compress talk: compress.budget: found no variant that keeps it, the nearest is static_int8")
    assert "bytes; at most 10 may be" in said and "Traceback" not in done.stderr
    kept = [path for path in before if path.is_relative_to(root / "data/compressed/talk")]
    assert len(kept) >= 3 and all(path.read_bytes() == before[path] for path in kept)
    assert not (root / "data/registered").exists() and not (root / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("settings", "one_class", "words"),
    [
        ({"examples": 4}, False, "compress.examples: found 4; expected a whole number ≥ 8"),
        ({}, True, "compress.examples: all 16 examples for calibration are of one class"),
    ],
)
def test_too_little_to_calibrate_by_is_refused(trained_talk, talk, monkeypatch, tmp_path, settings, one_class, words):
    import pandas as pd

    shutil.copytree(trained_talk, tmp_path / "talk")
    (path,) = (tmp_path / "talk/data/prepared/talk/train").glob("*0.parquet")
    if one_class:
        pd.read_parquet(path).assign(label="bad").to_parquet(path)
    with pytest.raises((ConfigError, DataError), match=words):
        of_net(None, changed(talk, **settings), monkeypatch, tmp_path)
