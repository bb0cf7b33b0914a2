import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from pipeline import artifacts, config, featurize, network, prepared, register, train, training, tune
from pipeline.config import Task
from pipeline.errors import ConfigError, RegistryError, StoppedError
from pipeline.examples import ImageInputs
from pipeline.initial import sources, teaching
from pipeline.initial.pins import Pin, pinned
from pipeline.models import resnet
from pipeline.search import values as search_values
from pipeline.targets import Target
from pipeline.tracking import registry, store, teacher, trained
from tests.prepared_files import write_meta, write_split

NAMES = ("bright", "dark")
SECTIONS = {"features": {}, "tune": {}, "model": {"name": "resnet"}}


def registered():
    register.main(config.task("toy"))
    return json.loads(Path("data/registered/toy/receipt.json").read_text("utf-8"))


def real_weights():
    """A network of three classes in the place of the toy's."""
    torch.manual_seed(5)
    inputs, target = ImageInputs(16, 16, 1, (0.5,), (0.25,)), Target("classes", ("a", "b", "c"))
    net = network.network(resnet, resnet.Config(), inputs, target).net
    folder = artifacts.folder("models", "toy")
    save_file(net.state_dict(), folder / "weights.safetensors")
    artifacts.write_json(folder / "model.json", network.describe("resnet", resnet.Config(), inputs, target))
    return net.state_dict()


def other_task(**settings):
    """A task of its own, of images in two classes."""
    folder, random = artifacts.folder("prepared", "other"), np.random.default_rng(0)
    for split, count in (("train", 40), ("validation", 16), ("test", 16)):
        labels = np.arange(count) % 2
        pixels = random.integers(100, 200, (count, 16, 16, 1)) - 60 * labels[:, None, None, None]
        write_split(folder, split, labels, list(NAMES), pixels.astype(np.uint8))
    write_meta(folder, "image", list(NAMES), (16, 16, 1))
    task = Task("other", "image", {**SECTIONS, "train": {"epochs": 1, "batch_size": 16, **settings}})
    featurize.main(task)
    return task


def trained_by(task):
    tune.main(task)
    train.main(task)
    return artifacts.read_json(artifacts.folder("models", "other") / "model.json")


def test_a_task_goes_on_from_a_registered_model_by_its_alias(image_project, caplog):
    state = real_weights()
    receipt = registered()
    shutil.rmtree("data/models/toy")  # the registry has all that it takes
    task = other_task(init={"model": "models:/toy@champion"}, freeze={"epochs": 1})
    caplog.set_level(logging.INFO)
    about = trained_by(task)["init"]
    assert (about["from"], about["sha256"]) == ("models:/toy/1", receipt["sha256"])
    assert about["new"] == ["head.weight [2, 128] (found [3, 128])", "head.bias [2] (found [3])"]
    assert about["split"] == "unknown"
    kept = network.load(artifacts.folder("models", "other")).net.state_dict()
    assert torch.equal(kept["body.stem.0.weight"], state["body.stem.0.weight"])
    assert any(line.startswith("train.init: models:/toy/1: kept 68 of 70") for line in caplog.messages)
    client = store.client()
    run = client.search_runs([store.experiment(client)], "tags.stage = 'train'")[0]
    assert run.data.tags["init.from"] == "models:/toy/1" and run.data.tags["init.sha256"] == receipt["sha256"]


def test_registered_weights_are_checked_and_fetched_again_where_they_have_changed(image_project, caplog):
    real_weights()
    pin = Pin("models:/toy/1", registered()["sha256"])
    folder = trained.fetch(pin.place, pin.sha256)
    whole = (folder / trained.WEIGHTS).read_bytes()
    (folder / trained.WEIGHTS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert trained.fetch(pin.place, pin.sha256) == folder
    assert (folder / trained.WEIGHTS).read_bytes() == whole
    assert "the file was changed after it was registered" in caplog.text and "fetching it again" in caplog.text
    with pytest.raises(RegistryError, match=r"models:/toy/1: found sha256 .*; expected 12345678…, as tune saw it"):
        sources.read(Pin(pin.place, "1234567890"))
    with pytest.raises(RegistryError, match=r"models:/toy/1: found sha256 .*; expected 12345678…, as tune saw it"):
        trained.require(pin.place, "1234567890")
    trained.require(pin.place, pin.sha256)


@pytest.mark.parametrize("of", ["same", "other"])
def test_weights_of_another_split_are_told_of(of, image_project, caplog):
    real_weights()
    task = other_task(init={"model": "models:/toy@champion"})
    path = artifacts.folder("models", "toy") / "model.json"
    digest = prepared.split_digest(artifacts.folder("prepared", "other"))
    artifacts.write_json(path, artifacts.read_json(path) | {"split": digest if of == "same" else "abc"})
    registered()
    about = trained_by(task)
    assert about["init"]["split"] == of and about["split"] == digest
    assert ("models:/toy/1 was trained on another split" in caplog.text) == (of == "other")


@pytest.mark.slow
def test_an_alias_that_has_moved_counts_once_tune_has_run_again(image_project, remake_images):
    state = real_weights()
    registered()
    task = other_task(init={"model": "models:/toy@champion"})
    first = search_values.of(task)
    remake_images(slope=0.06)
    real_weights()
    second = registered()
    assert second["version"] == 2
    again = search_values.of(task)
    assert again == first and again["pins"]["init"]["place"] == "models:/toy/1"  # still champion
    with registry.Models(store.client(), "toy").deciding() as decision:
        decision.move("champion", decision.models.holder("challenger"), "by hand")
    moved = search_values.of(task)
    assert moved["pins"]["init"] == {"place": "models:/toy/2", "sha256": second["sha256"]}
    assert training.fingerprint(task, moved) != training.fingerprint(task, first)
    read = sources.read(Pin(**first["pins"]["init"]))
    assert torch.equal(read.state["body.head.bias"], state["body.head.bias"])
    assert read.about.startswith("{name: resnet, activation: relu, blocks: 1, dropout: 0.2,")


def test_what_is_not_registered_is_an_error_that_names_what_is(image_project):
    task = other_task(init={"model": "models:/toy@best"})
    with pytest.raises(RegistryError, match=r"models:/toy@best: found no such version in .*of which there are none"):
        tune.main(task)
    registered()
    with pytest.raises(RegistryError, match=r"expected one of toy@champion, toy/1; run"):
        tune.main(task)
    with pytest.raises(RegistryError, match=r"models:/toy/7: found no such version"):
        tune.main(other_task(init={"model": "models:/toy/7"}))


@pytest.mark.slow
def test_a_version_whose_winner_is_no_network_has_no_weights(project):
    from tests.tracking.conftest import make_texts, params

    Path("params.yaml").write_text(params("text"))
    make_texts("baseline")
    registered()
    with pytest.raises(
        RegistryError, match=r"models:/toy/1: found no weights of a network .*; expected a version whose"
    ):
        trained.fetch("models:/toy/1", "")


@pytest.mark.slow
def test_the_vocabulary_of_a_text_network_travels_with_it(project):
    from tests.tracking.conftest import make_texts, params

    Path("params.yaml").write_text(params("text"))
    make_texts("net")
    receipt = registered()
    words = json.loads(Path("data/features/toy/vocabulary.json").read_text("utf-8"))
    assert sources.read(Pin("models:/toy/1", receipt["sha256"])).words == words


def test_a_registered_teacher_is_asked_once_about_the_train_split_as_it_is(image_project, monkeypatch):
    receipt = registered()
    task = other_task(teacher={"model": "models:/toy@champion", "share": 1.0})
    named = search_values.of(task)["pins"]
    assert named == {"teacher": {"place": "models:/toy/1", "sha256": receipt["sha256"]}}
    folder, target = artifacts.folder("prepared", "other"), Target("classes", NAMES)
    kept = Path("kept.npy")
    found = teaching.answers(Pin(**named["teacher"]), folder, "image", 40, target, kept)
    assert found.shape == (40, 2) and np.allclose(found.sum(axis=1), 1)
    from pipeline import prepared

    bright = prepared.images(folder, "train")[:].reshape(40, -1).mean(axis=1)
    assert np.allclose(found[:, 0], 1 / (1 + np.exp(-0.1 * (bright - 128))), atol=0.02)  # what its graph says
    with pytest.raises(ConfigError, match=r"models:/toy/1 answers dark, bright; expected the task's own bright, grey"):
        grey = Target("classes", ("bright", "grey"))
        teaching.answers(Pin(**named["teacher"]), folder, "image", 40, grey, Path("other.npy"))
    assert not Path("other.npy").exists()
    monkeypatch.setattr("pipeline.tracking.teacher.ask", None)
    again = teaching.answers(Pin(**named["teacher"]), folder, "image", 40, target, kept)
    assert np.array_equal(found, again)


@pytest.fixture
def sleeping(monkeypatch, tmp_path):
    """A teacher that starts another process and answers nothing; the file has its numbers."""
    note = tmp_path / "pids"
    child = "import os, subprocess, sys, time; other = subprocess.Popen(['sleep', '60']); "
    child += f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{other.pid}} '); time.sleep(60)"
    popen = subprocess.Popen
    monkeypatch.setattr(
        "pipeline.tracking.teacher.subprocess.Popen", lambda command, **how: popen([sys.executable, "-c", child], **how)
    )
    return note


def ended(note):
    """Within seconds: what is killed takes a moment to be gone."""
    until = time.monotonic() + 5
    while any(alive(int(pid)) for pid in note.read_text().split()):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_teacher_that_never_answers_is_ended_and_named(sleeping, monkeypatch):
    monkeypatch.setattr("pipeline.tracking.teacher.LOADS", 2.0)
    monkeypatch.setattr("pipeline.tracking.teacher.EACH", 0.5)
    with pytest.raises(
        RegistryError, match=r"models:/t/1: the teacher has not answered 2 examples within 3 s; .*teacher\.file"
    ):
        teacher.ask("models:/t/1", ["a", "b"])
    assert ended(sleeping)


def test_a_stopped_run_ends_the_teacher_that_answers(sleeping):
    def stop():
        return sleeping.exists() and sleeping.read_text().endswith(" ")

    with pytest.raises(StoppedError, match="while the teacher answered"):
        teacher.ask("models:/t/1", ["a", "b"], stop)
    assert ended(sleeping)


@pytest.mark.slow
def test_a_student_of_a_registered_teacher_is_trained_and_says_whose(image_project):
    receipt = registered()
    about = trained_by(other_task(teacher={"model": "models:/toy@champion"}))
    assert about["teacher"] == {"place": "models:/toy/1", "sha256": receipt["sha256"], "split": "unknown"}


def test_nothing_is_pinned_where_nothing_is_named(tmp_path):
    from pipeline.fit.settings import Config

    assert pinned(Config(), {"name": "resnet"}, "train") == {}
