import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import artifacts, compress, export, graphs, prepared, quality
from pipeline.config import Task, parse
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, Split
from pipeline.targets import Target

IMAGES = ImageInputs(16, 16, 1, (0.5,), (0.25,))


def variants(size=4.0, speed=2.0):
    latency = {"fp32": 1.0, "int8": 1.0 / speed, "eager": 3.0}
    size_of = {"fp32": 4000, "int8": int(4000 / size), "eager": 4000}
    return {name: {"bytes": size_of[name], "latency_ms": {"median": latency[name]}} for name in latency}


@pytest.mark.parametrize(
    ("size", "speed", "drop", "chosen", "words"),
    [
        (4, 2, 0.001, "int8", "4.0× smaller and 2.00× as fast"),
        (4, 2, 0.02, "int8", "at most 0.02 lower was allowed"),
        (4, 2, 0.021, "fp32", "it may be at most 0.02 lower"),
        (4, 1.1, 0.0, "fp32", "it must be at least 1.2× as fast"),
        (0.9, 2, 0.0, "fp32", "it must be smaller"),
        (4, 1.0, 0.5, "fp32", "as fast and it may be"),
        (4, 2, -0.01, "int8", "0.0100 higher"),
    ],
)
def test_the_smallest_that_is_fast_enough_and_within_the_budget(size, speed, drop, chosen, words):
    found, reason = compress.choose(variants(size, speed), drop, 0.02, 1.2, "macro_f1")
    assert found == chosen
    assert reason.startswith(f"{chosen}: ") and words in reason


def test_the_default_budget_depends_on_the_validation_split():
    assert compress.max_drop(compress.Config(), 1499) == 0.02
    assert compress.max_drop(compress.Config(), 1500) == 0.01
    assert compress.max_drop(compress.Config(compress.Budget(0.003)), 10) == 0.003


def test_the_budget_is_read_from_params():
    found = parse(compress.Config, {"budget": {"max_drop": 0.5}, "calibration": "minmax"}, "compress")
    assert found.budget.max_drop == 0.5
    assert parse(compress.Config, {"budget": {"max_drop": None}}, "compress").budget.max_drop is None
    with pytest.raises(ConfigError, match=r"compress\.budget\.max_drop: found 2"):
        parse(compress.Config, {"budget": {"max_drop": 2}}, "compress")


@pytest.fixture(scope="module")
def compressed(trained_talk, talk, tmp_path_factory):
    root = tmp_path_factory.mktemp("compressed") / "talk"
    shutil.copytree(trained_talk, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        compress.main(talk)
    return root


def entry(root):
    return artifacts.read_json(root / "data/compressed/talk/compress.json")["candidates"]


def test_both_candidates_have_their_graphs_and_figures(compressed):
    for name in ("net", "baseline"):
        found = entry(compressed)[name]
        for variant in ("fp32", "int8"):
            path = compressed / f"data/compressed/talk/{name}/{variant}.onnx"
            assert found["variants"][variant]["bytes"] == path.stat().st_size
            onnx.checker.check_model(onnx.load(path))
        for variant in ("eager", "fp32", "int8"):
            figures = found["variants"][variant]
            assert 0 < figures["latency_ms"]["median"] <= figures["latency_ms"]["p95"]
            assert 0 <= figures["validation"]["macro_f1"] <= 1
        assert found["variants"]["fp32"]["agreement"] == 1
        assert found["drop"]["low"] <= found["drop"]["value"] <= found["drop"]["high"]
        assert found["max_drop"] == 0.02
        chosen = found["variants"][found["chosen"]]["latency_ms"]["median"]
        assert found["speedup"]["vs_eager"] == pytest.approx(
            found["variants"]["eager"]["latency_ms"]["median"] / chosen
        )


def test_the_linear_graph_answers_as_the_baseline(compressed):
    saved = np.load(compressed / "data/baseline/talk/validation.probabilities.npy")
    labels = prepared.labels(compressed / "data/prepared/talk", "validation")
    expected = quality.figures(quality.Config(), labels, saved, Target("classes", ("bad", "good")))
    found = entry(compressed)["baseline"]["variants"]["fp32"]["validation"]
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-5)


def test_a_second_run_keeps_graphs_and_latencies(compressed, talk, monkeypatch):
    monkeypatch.chdir(compressed)
    folder = compressed / "data/compressed/talk"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    profiles = list((compressed / ".danlu/profiles").iterdir())
    assert len(profiles) == 2
    compress.main(talk)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted((compressed / ".danlu/profiles").iterdir()) == sorted(profiles)


def test_a_kept_profile_is_used_and_decides(compressed, talk, monkeypatch):
    monkeypatch.chdir(compressed)
    for path in (compressed / ".danlu/profiles").iterdir():
        taken = json.loads(path.read_text())
        same = {"median": 1.0, "p95": 2.0}
        path.write_text(json.dumps(dict.fromkeys(taken, same)))
    compress.main(talk)
    found = entry(compressed)["net"]
    assert found["chosen"] == "fp32"
    assert "1.00× as fast" in found["reason"]


def test_an_unknown_class_stops_before_anything_is_written(trained_talk, talk, monkeypatch, tmp_path):
    root = tmp_path / "talk"
    shutil.copytree(trained_talk, root)
    monkeypatch.chdir(root)
    wrong = Task("talk", "text", {**talk.raw, "evaluate": {"binary": {"yes": ["goood"]}}})
    with pytest.raises(ConfigError, match=r"tasks\.talk\.evaluate\.binary\.yes.*did you mean 'good'"):
        compress.main(wrong)
    assert not (root / "data/compressed/talk").exists()


class Convolution(nn.Module):
    """Nothing but a convolution, which the dynamic scheme leaves alone."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)

    def forward(self, images):
        return self.convolution(images.permute(0, 3, 1, 2).float() / 255).mean(dim=(2, 3))


def test_where_nothing_has_an_int8_form_fp32_stays_and_the_reason_says_so(tmp_path):
    torch.manual_seed(0)
    net = Convolution().eval()
    graph = tmp_path / "fp32.onnx"
    export.export(net, IMAGES, graph)
    labels = np.arange(20) % 2
    split = Split(labels, np.eye(2, dtype=np.float32)[labels], images=export.sample(IMAGES, 20))

    def eager(feed):
        with torch.inference_mode():
            return net(torch.from_numpy(feed["images"])).numpy()

    examples = graphs.of_net(split, IMAGES)
    source = compress.Source(graph, eager, 100, examples, examples, Target("classes", ("a", "b")))
    settings = compress.Config(calibration="minmax", examples=4, scheme="dynamic_int8")
    found = compress.compress(
        source, tmp_path, settings, quality.Config("macro_f1", resamples=100), tmp_path / "profiles"
    )
    assert found["chosen"] == "fp32" and "int8" not in found["variants"]
    assert "no operator" in found["reason"] and found["drop"] is None
    assert not (tmp_path / "int8.onnx").exists()
