import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from ruamel.yaml import YAML

from pipeline import artifacts, baseline, config, featurize, network, prepared, stage, train, training, tune, vocabulary
from pipeline.config import Task
from pipeline.errors import DataError, TrainingError
from pipeline.fit import checkpoint
from pipeline.fit import settings as fit
from pipeline.search import values as search_values
from tests.prepared_files import write_meta, write_split

SECTIONS = {
    "features": {},
    "baseline": {"side": 32, "cell": 8},
    "tune": {},
    "model": {"name": "resnet", "width": 32},
    "train": {"epochs": 2, "batch_size": 16, "threads": 1},
}


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A project with data/prepared/toy: dark and bright images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = artifacts.folder("prepared", "toy")
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 48), ("validation", 16), ("test", 16)):
        labels = np.arange(count) % 2
        pixels = random.integers(0, 128, (count, 32, 32, 1)) + 100 * labels[:, None, None, None]
        write_split(folder, split, labels, ["bright", "dark"], pixels.astype(np.uint8))
    write_meta(folder, "image", ["bright", "dark"], (32, 32, 1))
    return Task("toy", "image", SECTIONS)


class Recorder:
    def __init__(self):
        self.steps = []

    def log(self, step, values):
        self.steps.append(step)


def run_training(task, checkpoints, record=None):
    values = search_values.of(task)
    _, model = task.named("model", "models")
    settings = task.section("train", fit.Config)
    folder = checkpoints / training.fingerprint(task, values)
    return training.run(task, "resnet", model, settings, folder, record or Recorder())


def test_the_stages_from_features_to_weights(task):
    for one in (featurize, baseline, tune, train):
        one.main(task)
    models = artifacts.folder("models", "toy")
    loaded = network.load(models)
    assert loaded.target.names == ("bright", "dark")
    about = artifacts.read_json(models / "model.json")
    assert about["parameters"] == sum(p.numel() for p in loaded.net.parameters())
    assert about["name"] == "resnet" and about["config"]["width"] == 32
    rows = list(csv.DictReader((models / "history.csv").read_text("utf-8").splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    module, _ = task.of_kind("features", "features")
    split = module.load(artifacts.folder("prepared", "toy"), artifacts.folder("features", "toy"), "validation")
    best = rows[about["best_epoch"] - 1]
    answers = network.predict(loaded.net, split, loaded.inputs, loaded.target)
    assert (answers.argmax(axis=1) == split.labels).mean() == pytest.approx(float(best["validation_accuracy"]))
    assert not list((artifacts.STATE / "checkpoints").iterdir())
    assert (models / "augmented.png").read_bytes().startswith(b"\x89PNG")
    simple = artifacts.folder("baseline", "toy")
    assert set(np.load(simple / "weights.npz")) == {"coefficients", "intercept"}
    assert np.load(simple / "test.probabilities.npy").shape == (16, 2)
    assert 0 <= artifacts.read_json(simple / "baseline.json")["validation"]["accuracy"] <= 1


def test_weights_are_the_same_after_a_stop_and_every_epoch_is_logged(task, tmp_path):
    featurize.main(task)
    unbroken, _ = run_training(task, tmp_path / "a")

    class Stopping(Recorder):
        def log(self, step, values):
            if step == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(task, tmp_path / "b", Stopping())
    record = Recorder()
    resumed, _ = run_training(task, tmp_path / "b", record)
    assert all(torch.equal(value, resumed.state[name]) for name, value in unbroken.state.items())
    assert record.steps == [1, 2]


def test_a_checkpoint_of_other_data_or_settings_is_not_resumed(task):
    featurize.main(task)
    values = search_values.of(task)
    first = training.fingerprint(task, values)
    assert training.fingerprint(task, values) == first
    other = {**values, "train": {**values["train"], "seed": 1}}
    assert training.fingerprint(task, other) != first
    folder = artifacts.folder("prepared", "toy")
    labels, pixels = prepared.labels(folder, "train"), prepared.images(folder, "train")[:]
    write_split(folder, "train", 1 - labels, ["bright", "dark"], pixels)
    assert training.fingerprint(task, values) != first


def test_an_empty_split_is_an_error_that_names_it(task, tmp_path):
    featurize.main(task)
    write_split(artifacts.folder("prepared", "toy"), "validation", [], ["bright", "dark"])
    with pytest.raises(DataError, match="the validation split is empty"):
        run_training(task, tmp_path)


def test_tune_resolves_every_default(task):
    tune.main(task)
    values = json.loads((artifacts.folder("tuned", "toy") / "values.json").read_text())
    expected = fit.Config(epochs=2, batch_size=16, threads=1)
    assert values["train"] == dataclasses.asdict(expected)
    assert {"name": "resnet", "width": 32, "blocks": 1, "dropout": 0.2}.items() <= values["model"].items()


def test_divergence_is_one_line_and_exit_code_3(task, monkeypatch, capsys):
    featurize.main(task)
    artifacts.write_json(artifacts.folder("tuned", "toy") / "values.json", search_values.of(task))
    targets = prepared.targets
    monkeypatch.setattr(prepared, "targets", lambda *which: np.full_like(targets(*which), np.nan))
    monkeypatch.setattr("pipeline.config.task", lambda name: task)
    monkeypatch.setattr(sys, "argv", ["train", "toy"])
    monkeypatch.setenv("DANLU_RUN", "the flow has checked params.yaml")
    with pytest.raises(SystemExit) as exit:
        stage.run("train", train.main)
    assert exit.value.code == 3
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("train toy: train: the loss is nan in epoch 1")
    assert not artifacts.folder("models", "toy").exists()


def test_the_stage_sets_the_threads_up_before_torch_is_imported():
    script = "import sys, pipeline.train, pipeline.baseline, pipeline.featurize; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_picture_where_nothing_is_augmented(task, tmp_path):
    featurize.main(task)
    still = task.raw | {"train": {"images": {"flips": "none", "shift": 0}}}
    train.show_augmentation(tmp_path, task, Task("toy", "image", still).section("train", fit.Config))
    assert not list(tmp_path.glob("*.png"))
    train.show_augmentation(tmp_path, task, task.section("train", fit.Config))
    assert list(tmp_path.glob("*.png"))


def test_a_teacher_is_asked_before_the_ranks_begin(task, monkeypatch):
    featurize.main(task)
    many = SECTIONS | {"train": SECTIONS["train"] | {"parallel": {"processes": 2}}}
    values = search_values.of(Task("toy", "image", many))
    pins = {"teacher": {"place": "models:/other/1", "sha256": ""}}
    artifacts.write_json(artifacts.folder("tuned", "toy") / "values.json", values | {"pins": pins})
    done = []

    def begin(job):
        done.append("ranks")
        raise TrainingError("enough")

    monkeypatch.setattr("pipeline.initial.teaching.ask", lambda *given: done.append("teacher"))
    monkeypatch.setattr("pipeline.ranks.run", begin)
    with pytest.raises(TrainingError, match="enough"):
        train.main(task)
    assert done == ["teacher", "ranks"]


@pytest.fixture
def by_ranks(task, monkeypatch):
    """Starts the stage as a command that trains the same project in two processes; a function of settings."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("DANLU_RUN", "the flow has checked params.yaml")
    featurize.main(task)

    def start(**settings):
        train = SECTIONS["train"] | {"parallel": {"processes": 2, "restarts": 0}} | settings
        section = {name: {} for name in config.SECTIONS} | SECTIONS | {"kind": "image", "train": train}
        YAML().dump({"tasks": {"toy": section}}, Path("params.yaml"))
        tune.main(config.task("toy"))
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.train", "toy"], stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return start


def test_several_processes_leave_one_model_one_history_and_one_run(by_ranks):
    with by_ranks() as process:
        _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert said.count("epoch 1: ") == said.count("epoch 2: ") == said.count("training: device") == 1
    models = artifacts.folder("models", "toy")
    assert sorted(path.name for path in models.iterdir()) == [
        "augmented.png",
        "history.csv",
        "model.json",
        "weights.safetensors",
    ]
    rows = list(csv.DictReader((models / "history.csv").read_text("utf-8").splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert network.load(models).target.names == ("bright", "dark")
    journals = [path.read_text("utf-8") for path in (artifacts.STATE / "journal").rglob("*.jsonl")]
    assert len(journals) == 1
    points = [json.loads(line) for line in journals[0].splitlines() if '"values"' in line]
    assert [point["step"] for point in points] == [1, 2]
    assert float(rows[1]["validation_loss"]) == points[1]["values"]["validation_loss"]
    for left in ("checkpoints", "ranks"):
        assert not list((artifacts.STATE / left).iterdir())


@pytest.mark.slow
def test_several_processes_stop_with_a_checkpoint_at_sigterm(by_ranks):
    with by_ranks(epochs=10_000, patience=10_000) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("epoch 1: "):
                break
        ranks = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(30) == 143, said
    assert "train toy: train: stopped in epoch " in said and "run again to go on" in said
    assert len(ranks) == 3 and not psutil.wait_procs(ranks, timeout=1)[1]
    (folder,) = (artifacts.STATE / "checkpoints").iterdir()
    assert checkpoint.load(folder)["at"]["step"] >= 3
    assert not artifacts.folder("models", "toy").exists()


@pytest.mark.parametrize("name", ["linear", "fasttext"])
def test_a_text_model_is_told_the_vocabulary_and_keeps_what_it_needs(name, trained_talk, tmp_path, monkeypatch):
    shutil.copytree(trained_talk, tmp_path / "talk")
    monkeypatch.chdir(tmp_path / "talk")
    sections = {"model": {"name": name}, "train": {"epochs": 1}}
    task = Task("talk", "text", sections)
    module, model = task.named("model", "models")
    fitted, about = training.run(task, name, model, task.section("train", fit.Config), tmp_path / "c", Recorder())
    train.write(artifacts.folder("models", "talk"), fitted, about)
    body = network.load(artifacts.folder("models", "talk")).net
    words = artifacts.read_json(artifacts.folder("features", "talk") / "vocabulary.json")
    reader = config.plugin("features", "text", "kind")
    split = reader.load(artifacts.folder("prepared", "talk"), artifacts.folder("features", "talk"), "train")
    inputs = reader.inputs(artifacts.folder("prepared", "talk"), artifacts.folder("features", "talk"))
    again = module.build(model, inputs=inputs, outputs=2)
    module.words(again, vocabulary.of(words, split, inputs))
    kept = "idf" if name == "linear" else "pieces"
    assert torch.equal(getattr(body, kept), getattr(again, kept))
    assert len(getattr(body, kept)[2:].unique()) > 1
