"""What a network has learnt on one task is of use for another: the whole way from tune to the trained weights."""

import csv
import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline import artifacts, featurize, network, train, training, tune
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError
from pipeline.examples import ImageInputs, Split
from pipeline.fit import loop
from pipeline.fit.settings import Config, Freeze, Images
from pipeline.initial import fitting, published
from pipeline.initial.pins import Pin
from pipeline.initial.sources import Source
from pipeline.models import resnet
from pipeline.optimizers import adamw
from pipeline.targets import Target
from tests.initial.served import serving
from tests.prepared_files import write_meta, write_split

SIDE = 16
INPUTS = ImageInputs(SIDE, SIDE, 1, (0.5,), (0.25,))
CONFIG = Config(
    epochs=8,
    batch_size=32,
    patience=50,
    images=Images("none", 0.0),
    optimizer=adamw.Config(learning_rate=0.003),
)


def drawn(shapes, each, seed):
    """Noisy images of strokes: 0 horizontal, 1 vertical, 2 and 3 the diagonals, 4 a cross, 5 an x; where is random."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.arange(each * len(shapes)) % len(shapes)
    pixels = random.integers(0, 120, (len(labels), SIDE, SIDE))
    for k, label in enumerate(labels):
        a, b = random.integers(4, SIDE - 4, 2)
        strokes = {0: [y == a], 1: [x == b], 2: [y - a == x - b], 3: [y - a == b - x]}
        strokes |= {4: [y == a, x == b], 5: [y - a == x - b, y - a == b - x]}
        for stroke in strokes[shapes[label]]:
            pixels[k][stroke] += 110
    targets = np.eye(len(shapes), dtype=np.float32)[labels]
    return Split(labels, targets, images=pixels.astype(np.uint8)[..., None])


def net(outputs, seed):
    torch.manual_seed(seed)
    return network.network(resnet, resnet.Config(dropout=0.0), INPUTS, Target("classes", tuple("abcd"[:outputs])))


def fitted(built, shapes, each, config, seed, **hooks):
    target = Target("classes", tuple("abcd"[: len(shapes)]))
    data = loop.Data(drawn(shapes, each, seed), drawn(shapes, 60, 100 + seed), INPUTS, target)
    return loop.fit(built.net, built.stages, data, config, hooks=loop.Hooks(**hooks))


@pytest.fixture(scope="module")
def strokes():
    """The weights of a network that tells four strokes apart."""
    done = fitted(net(4, 0), (0, 1, 2, 3), 100, CONFIG, 0)
    assert done.history[-1]["validation_accuracy"] > 0.9
    return done.state


def best(fit):
    return max(row["validation_accuracy"] for row in fit.history)


def test_a_net_that_knows_strokes_learns_crosses_from_a_few_examples_better_than_a_random_one(strokes):
    gained = []
    for seed in (1, 2, 3):
        config = dataclasses.replace(CONFIG, epochs=10, seed=seed, freeze=Freeze(4, every=2), layer_decay=0.7)
        started = net(2, seed)
        fitting.fit(started, Source(Pin("weights/strokes.safetensors", ""), strokes))
        plain = dataclasses.replace(CONFIG, epochs=10, seed=seed)
        gained.append(
            best(fitted(started, (4, 5), 6, config, seed)) - best(fitted(net(2, seed), (4, 5), 6, plain, seed))
        )
    assert min(gained) > 0 and np.mean(gained) > 0.1


def test_frozen_stages_are_bit_equal_to_the_source_until_they_thaw(strokes):
    started, seen = net(2, 1), []
    fitting.fit(started, Source(Pin("weights/strokes.safetensors", ""), strokes))
    before = [{name: value.clone() for name, value in stage.state_dict().items()} for stage in started.stages]

    def look(row):
        now = [stage.state_dict() for stage in started.stages]
        seen.append([all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(before, now, strict=True)])

    config = dataclasses.replace(CONFIG, epochs=4, freeze=Freeze(2, every=1))
    fitted(started, (4, 5), 6, config, 1, on_epoch=look)
    count = len(started.stages)
    assert seen[0] == seen[1] == [True] * (count - 1) + [False]
    assert seen[2] == [True] * (count - 2) + [False] * 2
    assert seen[3] == [True] * (count - 3) + [False] * 3


SECTIONS = {
    "features": {},
    "baseline": {"side": 32, "cell": 8},
    "tune": {},
    "model": {"name": "resnet", "width": 32},
    "train": {"epochs": 1, "batch_size": 16},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """data/prepared and data/features of a task of two shapes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = artifacts.folder("prepared", "toy")
    for split, each, seed in (("train", 12, 0), ("validation", 8, 1), ("test", 8, 2)):
        made = drawn((4, 5), each, seed)
        write_split(folder, split, made.labels, ["cross", "x"], made.images)
    write_meta(folder, "image", ["cross", "x"], (SIDE, SIDE, 1))
    featurize.main(task())
    (tmp_path / "weights").mkdir()
    return tmp_path


def task(**sections):
    return Task("toy", "image", {**SECTIONS, **{k: {**SECTIONS[k], **v} for k, v in sections.items()}})


def run(asked):
    tune.main(asked)
    train.main(asked)
    return artifacts.read_json(artifacts.folder("models", "toy") / "model.json")


def test_a_local_file_is_pinned_by_tune_recorded_by_train_and_refused_when_it_changes(project, strokes):
    path = project / "weights" / "strokes.safetensors"
    save_file({name: value.contiguous() for name, value in strokes.items()}, path)
    asked = task(train={"init": {"file": "weights/strokes.safetensors"}, "freeze": {"epochs": 1}})
    about = run(asked)["init"]
    values = artifacts.read_json(artifacts.folder("tuned", "toy") / "values.json")
    assert values["pins"]["init"] == {"place": "weights/strokes.safetensors", "sha256": about["sha256"]}
    assert about["new"] == ["head.weight [2, 128] (found [4, 128])", "head.bias [2] (found [4])"]
    assert about["kept"] == about["of"] - 2
    kept = network.load(artifacts.folder("models", "toy")).net.state_dict()
    assert torch.equal(kept["body.stem.0.weight"], strokes["body.stem.0.weight"])  # frozen in its one epoch
    first = training.fingerprint(asked, values)
    save_file({name: (value + 1).contiguous() for name, value in strokes.items()}, path)
    with pytest.raises(
        DataError, match=r"weights/strokes.safetensors: found sha256 .{8}…; expected .{8}…, as tune saw"
    ):
        train.main(asked)
    tune.main(asked)
    assert training.fingerprint(asked, artifacts.read_json(artifacts.folder("tuned", "toy") / "values.json")) != first


def test_a_file_that_is_none_is_an_error_that_names_it(project):
    (project / "weights" / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"weights/x.safetensors: cannot be read"):
        run(task(train={"init": {"file": "weights/x.safetensors"}}))


def test_a_missing_file_is_found_by_tune(project):
    with pytest.raises(ConfigError, match=r"toy.train.init.file: found 'weights/x.safetensors', which is missing"):
        tune.main(task(train={"init": {"file": "weights/x.safetensors"}}))


def test_a_file_of_a_teachers_answers_is_learnt_from_and_recorded(project):
    answers = np.tile(np.array([[0.1, 0.9]], np.float32), (24, 1))
    np.save(project / "weights" / "t.npy", answers)
    teacher = {"file": "weights/t.npy", "share": 1.0}
    about = run(task(train={"teacher": teacher, "epochs": 6, "optimizer": {"learning_rate": 0.01}}))
    assert about["teacher"]["place"] == "weights/t.npy"
    rows = csv.DictReader((artifacts.folder("models", "toy") / "history.csv").read_text("utf-8").splitlines())
    losses = [float(row["train_loss"]) for row in rows]
    assert losses[-1] < losses[0] / 2  # towards a teacher who says the same of all, whatever their labels
    np.save(project / "weights" / "t.npy", answers[:20])
    with pytest.raises(
        DataError, match=r"train.teacher: weights/t.npy: found float32 \[20, 2\]; expected float32 \[24"
    ):
        run(task(train={"teacher": teacher}))


def test_published_weights_go_from_a_server_into_the_trained_network(project, monkeypatch):
    torchvision = pytest.importorskip("pipeline.models.torchvision")
    from torchvision import models

    torch.manual_seed(7)
    given = models.resnet18().state_dict()
    (project / "server").mkdir()
    torch.save(given, project / "server" / "x")
    digest = hashlib.sha256((project / "server" / "x").read_bytes()).hexdigest()[:8]
    (project / "server" / "x").rename(project / "server" / f"resnet18-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    asked = task(train={"init": "pretrained", "freeze": {"epochs": 1}})
    asked = dataclasses.replace(asked, raw={**asked.raw, "model": {"name": "torchvision", "architecture": "resnet18"}})
    assert torchvision.KIND == "image"
    with serving(project / "server") as server:
        address = server.address(f"resnet18-{digest}.pth")
        monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.value, "url", address)
        about = run(asked)["init"]
        assert published.address("resnet18") == address and server.asked
    assert (about["from"], about["sha256"]) == (address, digest)
    assert about["new"][0] == "fc.weight [2, 512] (found [1000, 512])" and len(about["new"]) == 2
    kept = network.load(artifacts.folder("models", "toy")).net.state_dict()
    assert torch.equal(kept["body.layer4.1.conv2.weight"], given["layer4.1.conv2.weight"])
    assert torch.equal(kept["body.conv1.weight"], given["conv1.weight"].sum(dim=1, keepdim=True))
