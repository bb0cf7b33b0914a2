import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import compress, evaluate
from pipeline.evaluate import Answers, Config
from pipeline.targets import Target
from tests.compressing_talk import STATIC, changed

CLASSES = ["bad", "good"]
LABELS = {"validation": np.arange(40) % 2, "test": np.arange(60) % 2}


def answers(right, *, compressed=None, control=None):
    """Probabilities that are right for a share of each split: of `trained`, and of the others where they are given."""

    def by_split(share):
        found = {}
        for split, labels in LABELS.items():
            wrong = np.arange(len(labels)) >= share * len(labels)
            found[split] = np.where(np.eye(2)[np.where(wrong, 1 - labels, labels)] == 1, 0.9, 0.1)
        return found

    variants = {"trained": by_split(right)}
    if compressed is not None:
        variants["compressed"] = by_split(compressed)
    if control is not None:
        variants["control"] = by_split(control)
    return Answers(variants)


def judged(**candidates):
    return evaluate.evaluate(
        candidates, LABELS, Target("classes", tuple(CLASSES)), Config(headline="accuracy", resamples=100)
    )


def test_the_winner_is_the_best_compressed_candidate_on_validation():
    report = judged(baseline=answers(0.9, compressed=0.8), net=answers(0.8, compressed=0.85))
    assert report["chosen"] == "net"
    assert report["validation"]["net"]["metrics"]["compressed"]["accuracy"]["value"] == pytest.approx(0.85)


def test_a_candidate_without_a_graph_is_reported_and_never_chosen():
    report = judged(baseline=answers(0.95), net=answers(0.6, compressed=0.6))
    assert report["chosen"] == "net"
    assert report["candidates"]["baseline"]["metrics"]["compressed"] is None
    assert report["candidates"]["baseline"]["metrics"]["trained"]["accuracy"]["value"] == pytest.approx(0.95)
    assert report["cautions"] == [
        "the baseline, at 0.950, is better on validation than the net at 0.600 (accuracy): look at the learning curves "
        "before you serve it"
    ]
    assert judged(baseline=answers(0.5), net=answers(0.6, compressed=0.6))["cautions"] == []


def test_of_equals_the_simpler_wins():
    assert judged(baseline=answers(0.8, compressed=0.8), net=answers(0.8, compressed=0.8))["chosen"] == "baseline"


def test_test_answers_do_not_choose():
    good_on_test = answers(0.5, compressed=0.5)
    good_on_test.variants["compressed"]["test"][:] = np.eye(2)[LABELS["test"]]
    report = judged(baseline=answers(0.6, compressed=0.6), net=good_on_test)
    assert report["chosen"] == "baseline"


def test_every_figure_has_an_interval_and_the_control_is_the_trained_model():
    report = judged(baseline=answers(0.7), net=answers(0.8, compressed=0.75))
    figures = report["candidates"]["net"]["metrics"]
    assert figures["control"] == figures["trained"]
    for figure in figures["compressed"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_a_control_of_its_own_is_what_compression_is_compared_with():
    report = judged(net=answers(0.7, compressed=0.8, control=0.9))
    figures = report["candidates"]["net"]["metrics"]
    assert [figures[k]["accuracy"]["value"] for k in ("trained", "control", "compressed")] == pytest.approx(
        [0.7, 0.9, 0.8]
    )
    gains = {(pair["from"], pair["to"]): pair["gain"]["value"] for pair in report["paired"]["test"]}
    assert gains["net_trained", "net_compressed"] == pytest.approx(0.1)
    assert gains["net_control", "net_compressed"] == pytest.approx(-0.1)
    sizes = {name: {"bytes": size} for name, size in (("eager", 4), ("fp32", 3), ("one", 2))}
    compressed = {"candidates": {"net": {"chosen": "one", "variants": sizes}}}
    tracked = evaluate.numbers(report, compressed, Config(headline="accuracy"))["net"]
    assert tracked.keys() == {"trained", "control", "compressed", "bytes"}
    assert tracked["control"]["accuracy"] == 0.9 and tracked["bytes"] == {"trained": 4, "fp32": 3, "compressed": 2}


def test_paired_gains_compare_on_the_same_examples():
    report = judged(baseline=answers(0.5), net=answers(0.9, compressed=0.9))
    gains = {(pair["from"], pair["to"]): pair["gain"] for pair in report["paired"]["test"]}
    assert gains["net_trained", "net_compressed"] == {"value": 0, "low": 0, "high": 0}
    assert gains["baseline_trained", "net_compressed"]["low"] > 0


def test_the_networks_that_compress_saved_are_what_the_control_answers(trained_talk, talk, monkeypatch, tmp_path):
    """A control with other weights than the trained network, in the files that compress leaves of it."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(trained_talk, tmp_path / "talk")
    monkeypatch.chdir(tmp_path / "talk")
    compress.main(changed(talk, **STATIC, min_speedup=0))
    models, control = Path("data/models/talk"), Path("data/compressed/talk/net/control")
    assert "control" not in evaluate.collect(talk)[0]["net"].variants
    shutil.copytree(models, control)
    weights = load_file(control / "weights.safetensors")
    save_file(weights | {"head.bias": weights["head.bias"] + 1000 * torch.eye(2)[0]}, control / "weights.safetensors")
    evaluate.main(talk)
    table = pd.read_parquet("data/reports/talk/predictions.parquet")
    assert set(table["net_control"]) == {"bad"} and set(table["net_trained"]) == set(CLASSES)
    tracked = json.loads(Path("data/metrics/talk.json").read_text())["net"]
    assert tracked["control"]["accuracy"] == 0.5 < tracked["trained"]["accuracy"]


@pytest.fixture(scope="module")
def evaluated(trained_talk, talk, tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluated") / "talk"
    shutil.copytree(trained_talk, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        compress.main(changed(talk, **STATIC))
        evaluate.main(talk)
    return root


def test_predictions_hold_every_held_out_row_once(evaluated):
    table = pd.read_parquet(evaluated / "data/reports/talk/predictions.parquet")
    assert table["split"].value_counts().to_dict() == {"validation": 240, "test": 40}
    assert table["id"].is_unique
    for column in ("baseline_trained", "baseline_compressed", "net_trained", "net_compressed"):
        assert set(table[column]) <= set(CLASSES)
        assert table[f"{column}_probability"].between(0.5, 1).all()


def test_the_confusion_table_and_the_report_agree(evaluated):
    report = json.loads((evaluated / "data/reports/talk/report.json").read_text())
    table = pd.read_csv(evaluated / "data/reports/talk/confusion.csv")
    figures = report["candidates"][report["chosen"]]["metrics"]["compressed"]
    assert (table["actual"] == table["predicted"]).mean() == pytest.approx(figures["accuracy"]["value"])
    assert len(table) == 40
    assert report["candidates"]["net"]["speedup"].keys() == {"vs_eager", "vs_onnx_fp32"}


def test_tracked_numbers_hold_no_time_and_repeat_bit_by_bit(evaluated, talk, monkeypatch):
    monkeypatch.chdir(evaluated)
    path = evaluated / "data/metrics/talk.json"
    before = path.read_bytes()

    def leaves(value):
        return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]

    assert all(isinstance(leaf, int | float) for leaf in leaves(json.loads(before)))
    assert b"latency" not in before and b"seconds" not in before
    found = json.loads(before)
    assert found["net"]["compressed"]["macro_f1_low"] <= found["net"]["compressed"]["macro_f1"]
    assert found["net"].keys() == {"trained", "compressed", "bytes"}
    assert found["net"]["bytes"]["compressed"] <= found["net"]["bytes"]["fp32"]
    evaluate.main(talk)
    assert path.read_bytes() == before
