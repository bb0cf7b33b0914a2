"""Smaller networks of a real small project, from their measurement to the files that they leave."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline import artifacts, compress, config, graphs, making, network, quality, shrinking, variants
from pipeline.fit.settings import Config as Train
from pipeline.pruning import l1, sensitivity
from pipeline.pruning.settings import Prune
from tests.compressing_talk import STATIC, WANTED, changed, entries

SETTINGS = Prune(levels=(0.5,), epochs=1, distil="off", sparse=0.5)


@pytest.fixture(scope="module")
def root(trained_talk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrinking") / "talk"
    shutil.copytree(trained_talk, folder)
    return folder


@pytest.fixture(scope="module")
def shrunk(root, talk):
    """The work as compress has it, all that it made, and the folder of graphs and saved networks."""
    out = root / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        at = shrinking.begin(talk, SETTINGS, WANTED)
        made = {"trained": at.export("trained", at.subject.trained, out)}
        for one in at.networks(out, lambda one: True):
            made[one.name] = one
        feeds = graphs.of_net(at.data.train, at.data.inputs).spread(16)
        for name in ("trained", "narrowed_1"):
            tuned = at.for_int8(made[name], feeds, out)
            made[tuned.name] = tuned
    return at, made, out


NAMES = ["trained", "control", "narrowed_1", "pruned_1", "sparse", "trained_for_int8", "narrowed_1_for_int8"]


def test_the_control_comes_first_and_then_each_family_each_with_its_graph(shrunk):
    _, made, out = shrunk
    assert list(made) == NAMES
    for name, one in made.items():
        assert one.graph == out / ("fp32.onnx" if name == "trained" else f"{name}-fp32.onnx") and one.graph.is_file()
    sizes = {name: one.graph.stat().st_size for name, one in made.items()}
    assert sizes["trained"] == sizes["control"] == sizes["sparse"]
    assert sizes["pruned_1"] < sizes["narrowed_1"] <= 0.55 * sizes["trained"]
    assert made["narrowed_1"].numbers == made["narrowed_1_for_int8"].numbers < made["trained"].numbers


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_is_saved_loads_by_its_description_and_answers_as_its_graph(shrunk, root, tmp_path, name):
    at, made, _ = shrunk
    at.save(tmp_path, name, made)
    assert {path.name for path in tmp_path.iterdir()} == {"control", name}
    for one in ("control", name):
        assert {path.name for path in (tmp_path / one).iterdir()} == {"model.json", "weights.safetensors"}
    loaded = network.load(tmp_path / name)
    found = network.predict(loaded.net, at.data.validation, loaded.inputs, loaded.target)
    examples = graphs.of_net(at.data.validation, at.data.inputs)
    expected = graphs.answers(graphs.answer(graphs.session(made[name].graph)), examples)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert sum(value.numel() for value in loaded.net.parameters()) == made[name].numbers


def test_the_trained_network_is_not_saved_once_more(shrunk, tmp_path):
    at, made, _ = shrunk
    at.save(tmp_path, "trained", {key: one for key, one in made.items() if key != "trained"})
    assert [path.name for path in tmp_path.iterdir()] == ["control"]


def test_what_is_told_has_the_fields_of_the_report(shrunk):
    at, made, _ = shrunk
    told = at.told({name: one for name, one in made.items() if name != "trained"})
    groups = {group["name"] for group in told["sensitivity"]["groups"]}
    assert groups == {"vocabulary", "embedding", "convolutions.0", "convolutions.1"} and at.left == {}
    assert told["sensitivity"]["score"] > 0.8 and told["sensitivity"]["latency_ms"] > 0
    rows = {row["name"]: row for row in told["levels"]}
    assert list(rows) == ["narrowed_1", "pruned_1", "sparse", "narrowed_1_for_int8"]
    for name, row in rows.items():
        assert row["epochs"] == 1 and row["parameters"] == made[name].numbers and row["control"] == at.control_score
        assert all(0 < kept < count for kept, count in row["cut"].values())
    assert rows["sparse"]["cut"] == {} and "embedding" in rows["narrowed_1"]["cut"]
    assert any(name.startswith("convolutions") for name in rows["pruned_1"]["cut"])


def test_the_trained_network_stays_as_it_was_on_disk(shrunk, root):
    at, _, _ = shrunk
    loaded = network.load(root / "data/models/talk").net.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in at.subject.trained.net.state_dict().items())


def test_a_sparse_network_keeps_its_zeros_while_it_is_tuned(shrunk):
    made = shrunk[1]
    net = copy.deepcopy(made["sparse"].made.net)
    weights = [net.convolutions[0].weight, net.convolutions[1].weight, net.head.weight]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert zeros == pytest.approx(0.5, abs=0.01)
    assert l1.prune(net, 0.5) == pytest.approx(0.5, abs=0.01)


def test_a_network_trained_for_int8_is_plain_and_loses_little_in_int8(shrunk, talk, tmp_path):
    at, made, _ = shrunk
    names = {name for name, _ in made["trained_for_int8"].made.net.named_modules()}
    assert names == {name for name, _ in at.subject.trained.net.named_modules()}
    examples = graphs.of_net(at.data.validation, at.data.inputs)

    def answers(graph):
        return graphs.answers(graphs.answer(graphs.session(graph)), examples)

    feeds = graphs.of_net(at.data.train, at.data.inputs).spread(16)
    known = variants.Calibration(feeds, ("minmax",), answers)
    for name in ("trained_for_int8", "narrowed_1_for_int8"):
        found = variants.write(made[name].graph, tmp_path / f"{name}.onnx", variants.STATIC, known)
        score = quality.figures(WANTED, examples.truth, answers(found.path), at.data.target)["macro_f1"]
        assert score > 0.8 and score > at.headline(answers(made[name].graph)) - 0.02


def test_without_levels_nothing_is_made(root, talk, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    at = shrinking.begin(talk, Prune(levels=()), WANTED)
    assert list(at.networks(tmp_path, lambda one: True)) == []
    assert at.told({}) == {"sensitivity": None, "levels": []}


def test_where_every_part_is_left_nothing_is_trained(root, talk, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    monkeypatch.setattr(shrinking.cutting, "parts", lambda subject: ([], {"all": "not cut: planted"}))
    at = shrinking.begin(talk, Prune(levels=(0.5,), epochs=1, rate=0.1), WANTED)
    assert [one.name for one in at.networks(tmp_path, lambda one: True)] == []
    assert at.left == {"all": "not cut: planted"}


@pytest.mark.slow
def test_a_killed_stage_goes_on_with_what_it_measured_cut_and_trained(trained_talk, talk, monkeypatch, tmp_path):
    """It dies after all networks are trained; the run after it measures and cuts nothing anew, and writes the same."""
    root = tmp_path / "talk"
    shutil.copytree(trained_talk, root)
    monkeypatch.chdir(root)
    settings = {"prune": {"levels": [0.5], "epochs": 1, "distil": "off"}, "min_speedup": 0, "int8_training": "off"}
    task = changed(talk, **STATIC, **settings)

    class Killed(BaseException):
        pass

    def die(work):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(making, "reload", die)
        with pytest.raises(Killed):
            compress.main(task)
    (folder,) = (root / ".danlu/shrinking").iterdir()
    assert {"control", "narrowed-0.5", "pruned-0.5", "sensitivity.json"} <= {path.name for path in folder.iterdir()}
    before = {path.name: path.read_bytes() for path in (root / "data/compressed/.talk.building/net").glob("*.onnx")}
    monkeypatch.setattr(sensitivity, "measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(shrinking.networks, "kept", lambda *_: pytest.fail("chosen again"))
    compress.main(task)
    assert list((root / ".danlu/shrinking").iterdir()) == []
    found = entries(root)["net"]
    after = {path.name: path.read_bytes() for path in (root / "data/compressed/talk/net").glob("*.onnx")}
    assert after.items() <= before.items() and f"{found['chosen']}.onnx" in after
    assert found["variants"]["control-fp32"]["reference"] == "trained"
    assert (root / "data/compressed/talk/net/control/weights.safetensors").is_file()
    served = found["network"]
    assert served == "trained" or network.load(root / f"data/compressed/talk/net/{served}").net


def test_what_training_found_for_itself_is_the_same_for_every_network(root, talk, monkeypatch):
    monkeypatch.chdir(root)
    values = artifacts.read_json(root / "data/tuned/talk/values.json")
    about = {"learning_rate": 0.0125, "choices": {"batch_size": "32 (the largest that fits)"}}
    train = config.parse(Train, values["train"], "train")
    auto = replace(train, batch_size="auto", optimizer=replace(train.optimizer, learning_rate="auto"))
    found = shrinking._found(auto, about)
    assert found.optimizer.learning_rate == 0.0125 and found.batch_size == 32
    assert shrinking._found(train, about) == train
