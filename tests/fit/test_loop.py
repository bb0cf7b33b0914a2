import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import network
from pipeline.config import parse
from pipeline.errors import ConfigError, StoppedError, TrainingError
from pipeline.examples import Split, TextInputs
from pipeline.fit import checkpoint, feed, loop
from pipeline.fit.settings import Average, Config, Images, Texts
from pipeline.loader.draws import Crop
from pipeline.optimizers import adamw
from pipeline.schedules import reduce_on_plateau
from pipeline.store import Ragged
from pipeline.texts import Texts as Ids
from tests.fit.toys import CONFIG, IMAGE, TWO, Brightness, equal, images, stopping, toy, train

TEXT = TextInputs(20, 8)


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def test_a_toy_learns_and_its_best_weights_stay_in_it():
    net = toy()
    rows, done = [], []
    found = train(net, on_epoch=rows.append, on_step=lambda *of: done.append(of))
    assert rows == found.history
    assert done == [(k, 20) for k in range(1, 21)]
    assert rows[found.best_epoch - 1]["validation_accuracy"] > 0.9
    assert rows[found.best_epoch - 1]["validation_loss"] == min(row["validation_loss"] for row in rows)
    assert equal(net.state_dict(), found.state)
    measured = ["train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1"]
    assert list(rows[0]) == ["epoch", *measured, "learning_rate", "seconds"]


def test_the_same_seed_repeats_bit_for_bit_and_another_does_not():
    first, again = train(toy()), train(toy())
    assert equal(first.state, again.state)
    assert not equal(first.state, train(toy(), dataclasses.replace(CONFIG, seed=1)).state)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_stopped_after_any_epoch_ends_as_the_unbroken_one(tmp_path, stop):
    unbroken = train(toy())

    def interrupt(row):
        if row["epoch"] == stop + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy(), checkpoints=tmp_path, on_epoch=interrupt)
    torch.manual_seed(99)
    rows = []
    resumed = train(Brightness(), checkpoints=tmp_path, on_epoch=rows.append)
    assert equal(resumed.state, unbroken.state)
    assert rows == resumed.history
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    assert resumed.best_epoch == unbroken.best_epoch


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from tests.fit import toys as t

def on_epoch(row):
    if row["epoch"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)

t.train(t.toy(), checkpoints=Path({checkpoints!r}), on_epoch=on_epoch)
"""


def test_a_run_killed_by_the_system_ends_as_the_unbroken_one(tmp_path):
    script = KILLED.format(folder=str(Path(__file__).parents[2]), checkpoints=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.load(tmp_path)["at"]["epoch"] == 2
    resumed = train(toy(), checkpoints=tmp_path)
    assert equal(resumed.state, train(toy()).state)


def test_crops_of_images_that_keep_their_sizes_are_learnt_and_resumed(tmp_path):
    config = dataclasses.replace(CONFIG, images=Images(crop=Crop(0.5)), epochs=3)
    random = np.random.default_rng(0)
    shapes = np.concatenate([random.integers(5, 40, (40, 2)), np.ones((40, 1), int)], axis=1)
    labels = np.arange(40) % 2
    pixels = [random.integers(0, 128, shape) + 100 * label for shape, label in zip(shapes, labels)]
    ragged = Ragged([np.concatenate([some.ravel() for some in pixels]).astype(np.uint8)], [shapes])
    split = Split(labels, np.eye(2, dtype=np.float32)[labels], images=ragged)
    data = loop.Data(split, split, IMAGE, TWO)
    unbroken = train(toy(), config, data=data)
    assert max(row["validation_accuracy"] for row in unbroken.history) > 0.9

    def interrupt(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy(), config, data=data, checkpoints=tmp_path, on_epoch=interrupt)
    resumed = train(toy(), dataclasses.replace(config, filling=3), data=data, checkpoints=tmp_path)
    assert equal(resumed.state, unbroken.state)
    assert not equal(unbroken.state, train(toy(), dataclasses.replace(config, images=Images()), data=data).state)


def test_no_thread_is_left_when_training_ends_in_any_way():
    train(toy())
    with pytest.raises(TrainingError):
        train(Breaking("loss"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("danlu")]


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ({"smallest": 0}, r"train\.images\.crop\.smallest: found 0; expected a number ≤ 1 and > 0"),
        ({"smallest": 0.9, "largest": 0.5}, r"train\.images\.crop\.smallest: found 0\.9; expected at most largest"),
        ({"ration": 2}, r"train\.images\.crop\.ration: unknown key \(did you mean 'ratio'\?\)"),
        (True, r"train\.images\.crop: found True; expected a mapping of settings"),
    ],
)
def test_impossible_crops_are_refused(crop, message):
    with pytest.raises(ConfigError, match=message):
        parse(Config, {"images": {"crop": crop}}, "train")
    assert parse(Config, {"images": {"crop": {}}}, "train").images.crop == Crop()
    assert parse(Config, {"images": {"crop": None}}, "train").images.crop is None


def test_text_networks_resume_too(tmp_path):
    from pipeline.models import textcnn

    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, 40)
    labels = np.arange(40) % 2
    ids = random.integers(4, 20, sizes.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    ids[offsets[:-1]] = 2 + labels
    rows = [row.tolist() for row in np.split(ids, offsets[1:-1])]
    split = Split(labels, np.eye(2, dtype=np.float32)[labels], texts=Ids.of(rows))
    config = dataclasses.replace(CONFIG, texts=Texts(unknown=0.1))

    def build():
        torch.manual_seed(0)
        return network.network(textcnn, textcnn.Config(embedding=16, channels=16), TEXT, TWO).net

    data = loop.Data(split, split, TEXT, TWO)
    unbroken = train(build(), config, data=data)
    assert unbroken.history[-1]["validation_accuracy"] > 0.9

    def interrupt(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(build(), config, data=data, checkpoints=tmp_path, on_epoch=interrupt)
    assert equal(train(build(), config, data=data, checkpoints=tmp_path).state, unbroken.state)


class Breaking(Brightness):
    """From its 7th training step on, the second of epoch 2, answers are NaN, or answers are right and gradients NaN."""

    def __init__(self, what):
        super().__init__()
        self.what, self.steps = what, 0

    def forward(self, images):
        self.steps += self.training
        found = super().forward(images)
        if self.steps < 7:
            return found
        if self.what == "loss":
            return found * float("nan")
        if found.requires_grad:
            found.register_hook(lambda gradient: gradient * float("inf"))
        return found


@pytest.mark.parametrize(("what", "said"), [("loss", "the loss is nan"), ("gradient", "the gradient's norm is nan")])
def test_what_is_not_a_number_stops_within_a_step_names_the_batch_and_keeps_the_checkpoint(tmp_path, what, said):
    done, net = [], Breaking(what)
    data = loop.Data(images(40), images(16, seed=1), IMAGE, TWO, name_of=lambda row: f"image {row}.png")
    with pytest.raises(TrainingError, match=rf"{said} in epoch 2, step 7, with the batch of image ") as error:
        train(net, data=data, checkpoints=tmp_path, on_step=lambda *of: done.append(of[0]))
    assert re.search(r"(image \d+\.png, ){4}image \d+\.png and 3 more; .*lower train\.optimizer", str(error.value))
    assert error.value.exit_code == 3
    assert done[-1] == 6
    kept = checkpoint.load(tmp_path)
    assert kept["at"]["epoch"] == 1
    assert all(value.isfinite().all() for value in (*kept["net"].values(), *net.state_dict().values()))


@pytest.fixture
def scaled(monkeypatch):
    """Losses are scaled as for fp16, on a CPU."""
    made = []

    def scaler(device, enabled):
        made.append(torch_scaler(device, enabled=True))
        return made[-1]

    torch_scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    return made


def test_gradients_that_no_scale_makes_finite_are_told(scaled):
    done, net = [], Breaking("gradient")
    with pytest.raises(TrainingError, match=r"the gradient's norm is nan in epoch 8, step 37, with the batch of"):
        train(net, dataclasses.replace(CONFIG, epochs=20, patience=20), on_step=lambda *of: done.append(of))
    assert len(done) == 36  # 30 of which were skipped, each with half the scale: 65536 / 2^30 < 1e-4
    assert scaled[-1].get_scale() == 2**-14


class Short(torch.optim.AdamW):
    """Finds no memory in its 7th step."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().step(closure)


def test_a_step_whose_gradients_were_unscaled_can_be_tried_again(scaled, tmp_path, monkeypatch):
    monkeypatch.setattr(adamw, "build", lambda config, groups, fused: Short(groups, foreach=True))
    found = train(toy(), checkpoints=tmp_path)
    assert found.found.parts == 2 and len(found.history) == 4
    assert len(scaled) == 2


@pytest.mark.parametrize("setting", ["plain", "ema", "swa", "accumulated"])
def test_a_run_stopped_at_any_of_40_steps_ends_bit_equal_to_the_unbroken_one(tmp_path, setting):
    config = dataclasses.replace(CONFIG, epochs=8, patience=100)
    if setting in ("ema", "swa"):
        config = dataclasses.replace(config, average=Average(setting, decay=0.9, start=0.3))
    if setting == "accumulated":
        config = dataclasses.replace(config, accumulate=3, l1=1e-4, schedule=reduce_on_plateau.Config(patience=1))
    unbroken = train(toy(), config)
    assert len(unbroken.history) == 8
    for stop in range(1, 41) if setting == "plain" else range(3, 41, 9):
        folder, done = tmp_path / str(stop), []
        with pytest.raises(StoppedError, match=rf"stopped in epoch \d, after step {stop}; .* run again to go on"):
            train(toy(), config, checkpoints=folder, **stopping(done, stop))
        torch.manual_seed(stop)
        resumed = train(Brightness(), config, checkpoints=folder, **stopping(done, None))
        assert done == list(range(1, 41))
        assert equal(resumed.state, unbroken.state)
        assert without_seconds(resumed.history) == without_seconds(unbroken.history)
        assert resumed.best_epoch == unbroken.best_epoch


@pytest.mark.parametrize("setting", ["plain", "ema", "swa"])
@pytest.mark.parametrize("asked", [14, 16])
def test_a_run_stopped_in_a_validation_leaves_within_it_and_ends_as_the_unbroken_one(tmp_path, setting, asked):
    """Of 600 examples, in 3 batches: each epoch asks 5 times after its steps and 3 times in its validation."""
    average = Average() if setting == "plain" else Average(setting, decay=0.9, start=0.25)
    config = dataclasses.replace(CONFIG, average=average)
    data = loop.Data(images(40), images(600, seed=1), IMAGE, TWO)
    unbroken = train(toy(), config, data=data)
    asks, done = [], []

    def stop():
        asks.append(None)
        return len(asks) == asked

    with pytest.raises(StoppedError, match=r"stopped in epoch 2, after step 10; .* has the checkpoint"):
        train(toy(), config, data=data, checkpoints=tmp_path, stop=stop)
    kept = checkpoint.load(tmp_path)["at"]
    assert (kept["epoch"], kept["batch"], kept["step"], len(kept["history"])) == (1, 5, 10, 1)
    torch.manual_seed(9)
    resumed = train(Brightness(), config, data=data, checkpoints=tmp_path, on_step=lambda *of: done.append(of[0]))
    assert done == list(range(11, 21))
    assert equal(resumed.state, unbroken.state)
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)


def test_a_run_stopped_while_its_best_weights_are_judged_ends_as_the_unbroken_one(tmp_path):
    unbroken, done = train(toy()), []
    after = {"on_epoch": lambda row: done.append(row["epoch"]), "stop": lambda: done[-1:] == [4]}
    with pytest.raises(StoppedError, match=r"stopped after the last epoch; .* run again to go on"):
        train(toy(), checkpoints=tmp_path, **after)
    resumed = train(Brightness(), checkpoints=tmp_path)
    assert equal(resumed.state, unbroken.state) and resumed.judged == unbroken.judged


@pytest.mark.parametrize("auto", [{"batch_size": "auto"}, {"optimizer": adamw.Config(learning_rate="auto")}])
def test_a_stop_is_heard_while_the_batch_or_the_rate_is_found(auto):
    asks = []
    with pytest.raises(StoppedError, match="stopped before the first epoch; run again"):
        train(toy(), dataclasses.replace(CONFIG, **auto), stop=lambda: asks.append(None) or True)
    assert len(asks) == 1


def test_checkpoints_are_written_within_an_epoch_too(tmp_path):
    config = dataclasses.replace(CONFIG, checkpoint_minutes=1e-9)
    found = []

    def look(done, total):
        found.append(checkpoint.load(tmp_path)["at"])

    train(toy(), config, checkpoints=tmp_path, on_step=look)
    assert [at["step"] for at in found] == list(range(20))
    assert [at["batch"] for at in found[:7]] == [0, 1, 2, 3, 4, 0, 1]


def test_training_stops_when_patience_runs_out():
    config = dataclasses.replace(CONFIG, epochs=40, patience=2)
    labels = images(16, seed=1)
    worse = Split(1 - labels.labels, 1 - labels.targets, images=labels.images)
    quick = dataclasses.replace(config, optimizer=adamw.Config(learning_rate=0.05))
    found = train(toy(), quick, data=loop.Data(images(40), worse, IMAGE, TWO))
    assert len(found.history) == found.best_epoch + 2 < 40


def test_soft_targets_are_what_is_learnt():
    split = images(40)
    soft = Split(split.labels, np.full((40, 2), 0.5, np.float32), images=split.images)
    net = toy()
    train(net, dataclasses.replace(CONFIG, epochs=20), data=loop.Data(soft, soft, IMAGE, TWO))
    assert np.abs(network.predict(net, soft, IMAGE, TWO) - 0.5).max() < 0.2


def test_the_device_its_reason_and_the_minutes_are_told_before_the_start(caplog):
    caplog.set_level("INFO")
    train(toy(), dataclasses.replace(CONFIG, device="cpu"))
    assert "training: device cpu (as train.device says); precision float32 (the same on every CPU)" in caplog.text
    assert "training takes at most 1 minute\n" in caplog.text
    assert loop._duration(1.2) == "2 minutes"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_what_this_machine_cannot_do_is_refused():
    with pytest.raises(ConfigError, match=r"train\.device: found cuda"):
        train(toy(), Config(device="cuda"))
    with pytest.raises(ConfigError, match=r"train\.precision: found fp16 on a CPU"):
        train(toy(), Config(precision="fp16"))


def test_bf16_on_a_cpu_learns_too():
    found = train(toy(), dataclasses.replace(CONFIG, precision="bf16"))
    assert max(row["validation_accuracy"] for row in found.history) > 0.9
    assert all(value.dtype != torch.bfloat16 for value in found.state.values())


@pytest.mark.gpu
def test_automatic_mixed_precision_on_cuda():
    found = train(toy(), dataclasses.replace(CONFIG, device="cuda"))
    assert found.choices["device"].startswith("cuda") and max(row["validation_accuracy"] for row in found.history) > 0.9


def test_cudnn_works_and_is_deterministic_while_a_run_trains():
    found = []
    with torch.backends.cudnn.flags(enabled=True, deterministic=False, benchmark=True):
        train(
            toy(),
            dataclasses.replace(CONFIG, epochs=1),
            on_step=lambda *of: found.append(
                [getattr(torch.backends.cudnn, name) for name in ("enabled", "deterministic", "benchmark")]
            ),
        )
        assert torch.backends.cudnn.benchmark
    assert found == [[True, True, False]] * 5


def test_random_states_are_kept_of_the_runs_own_device_alone(monkeypatch):
    kept, fork = [], torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices=None: kept.append(devices) or fork(devices))
    train(toy(), dataclasses.replace(CONFIG, device="cpu", epochs=1))
    assert kept == [[]]


def test_threads_and_random_state_are_as_before():
    net, threads, state = toy(), torch.get_num_threads(), torch.get_rng_state()
    train(net, dataclasses.replace(CONFIG, threads=threads + 1, epochs=1))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("section", [{"l1": -1}, {"epochs": 0}, {"accumulate": 0}, {"device": "gpu"}])
def test_impossible_settings_are_refused(section):
    with pytest.raises(ConfigError, match=rf"train\.{next(iter(section))}: found"):
        parse(Config, section, "train")


def test_classes_are_resampled_in_training_alone():
    shown = []

    class Counting(feed.Loader):
        def epoch(self, number, step=0):
            for batch in super().epoch(number, step):
                shown.append(batch.rows.copy())
                yield batch

    rare = images(44)
    rare = dataclasses.replace(rare, labels=np.r_[rare.labels[:40] * 0, rare.labels[40:] * 0 + 1])
    config = dataclasses.replace(CONFIG, epochs=1, sampling="oversample")
    order = feed.order(config, rare, ["a", "b"])
    assert np.bincount(rare.labels[order(np.random.default_rng(0))]).tolist() == [40, 40]
    assert feed.Feed(rare, IMAGE, config, 8, ["a", "b"]).seen == 80
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "Loader", Counting)
        found = train(toy(), config, data=loop.Data(rare, images(16, seed=1), IMAGE, TWO))
    assert np.bincount(rare.labels[np.concatenate(shown[-10:])]).tolist() == [40, 40] and len(found.history) == 1
    weighted = dataclasses.replace(config, sampling={"b": 10.0})
    assert np.bincount(rare.labels[feed.order(weighted, rare, ["a", "b"])(np.random.default_rng(0))]).tolist() == [
        22,
        22,
    ]
    with pytest.raises(ConfigError, match=r"train\.sampling\.c: no such class; expected some of a, b"):
        feed.order(dataclasses.replace(config, sampling={"c": 2.0}), rare, ["a", "b"])
