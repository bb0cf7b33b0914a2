import dataclasses
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import memory
from pipeline.errors import ConfigError, TrainingError
from pipeline.fit import checkpoint, feed, finding, loop
from pipeline.fit.settings import Freeze
from pipeline.fit.stepping import Stepper
from pipeline.optimizers import adamw, sgd
from tests.fit.toys import CONFIG, IMAGE, TWO, Brightness, equal, images, stopping, toy, train

RATES = np.logspace(np.log10(finding.LOWEST), np.log10(finding.HIGHEST), finding.STEPS)


def single(falls, noise, seed, rises=1.0):
    """Losses of single batches: they fall by `falls` around a rate of 1e-3 and rise again above `rises`."""
    random = np.random.default_rng(seed)
    down = 1 - falls / (1 + np.exp(-3 * np.log(RATES / 1e-3)))
    return (np.where(rises < RATES, 2.0, down) + noise * random.normal(size=len(RATES))).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_the_rate_at_which_half_of_the_fall_is_done_however_much_batches_differ(seed):
    found = finding.halfway(RATES.tolist(), single(0.6, 0.1, seed))
    assert found is not None and 1e-4 < found < 1e-2


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_that_never_falls_by_more_than_batches_differ_tells_no_rate(seed):
    assert finding.halfway(RATES.tolist(), single(0.0, 0.1, seed, rises=0.1)) is None
    assert finding.halfway(RATES[:9].tolist(), single(0.5, 0.1, seed)[:9]) is None


class Still(Brightness):
    """Answers alike whatever is learnt."""

    def forward(self, images):
        return super().forward(images).detach() + 0 * self.body[1].weight.sum()


def test_where_the_range_test_tells_nothing_the_optimisers_default_is_taken_with_a_warning(caplog):
    found = train(Still(), dataclasses.replace(CONFIG, epochs=1, optimizer=sgd.Config(learning_rate="auto")))
    assert found.found.rate == sgd.Config().learning_rate
    assert "0.05 is taken, the optimiser's own default" in caplog.text


@pytest.mark.parametrize("optimizer", [adamw.Config(learning_rate="auto"), sgd.Config(learning_rate="auto")])
def test_a_rate_found_by_a_range_test_learns_and_says_so(optimizer, tmp_path, caplog):
    caplog.set_level("INFO")
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    found = train(toy(), config)
    assert max(row["validation_accuracy"] for row in found.history) > 0.8
    assert 1e-5 < found.found.rate < 1
    assert len(found.found.rates) == len(found.found.losses) > 20
    assert f"learning_rate {found.found.rate:g} (by a range test)" in caplog.text
    assert max(row["learning_rate"] for row in found.history) <= found.found.rate
    with pytest.raises(Exception, match="stopped"):
        train(toy(), config, checkpoints=tmp_path, **stopping([], 1))
    assert equal(train(Brightness(), config, checkpoints=tmp_path).state, found.state)


def test_the_largest_batch_that_fits(monkeypatch):
    tried = []

    def attempt(size):
        tried.append(size)
        if size > 100:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    assert memory.largest(attempt, 1000, torch.device("cpu")) == 64
    assert tried == [16, 32, 64, 128]
    assert memory.largest(lambda size: None, 50, torch.device("cpu")) == 50
    few = []

    def only_two(size):
        few.append(size)
        if size > 2:
            raise MemoryError

    assert memory.largest(only_two, 1000, torch.device("cpu")) == 2
    assert few == [16, 8, 4, 2]
    with pytest.raises(TrainingError, match="one example is too much for the memory"):
        memory.largest(lambda size: (_ for _ in ()).throw(MemoryError()), 1000, torch.device("cpu"))
    with pytest.raises(ValueError, match="another"):
        memory.largest(lambda size: (_ for _ in ()).throw(ValueError("another")), 1000, torch.device("cpu"))


def test_a_batch_of_what_fits_and_of_all():
    found = train(toy(), dataclasses.replace(CONFIG, batch_size="auto", epochs=1))
    assert found.found.batch_size == 16
    assert found.choices["batch_size"] == "16 (the largest that fits, with 16 steps an epoch left)"
    done = []
    train(toy(), dataclasses.replace(CONFIG, batch_size="all"), on_step=lambda *of: done.append(of))
    assert done == [(k, 4) for k in range(1, 5)]
    done.clear()
    train(toy(), dataclasses.replace(CONFIG, batch_size=2, epochs=1), on_step=lambda *of: done.append(of))
    assert len(done) == 20


class Hungry(Brightness):
    """Finds no memory for more than a quarter of its batch."""

    most = 2

    def forward(self, images):
        if self.training and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines")
        return super().forward(images)


def test_too_little_memory_doubles_the_parts_of_the_same_batch_from_the_checkpoint(tmp_path, caplog):
    torch.manual_seed(0)
    found = train(Hungry(), dataclasses.replace(CONFIG, checkpoint_minutes=100), checkpoints=tmp_path)
    assert found.found.parts == 4 and found.found.batch_size == 8
    assert "CUDA out of memory. Tried to allocate 2.00 GiB.; a batch is computed in 4 parts" in caplog.text
    assert found.choices["accumulate"] == "4 (the memory was too small for fewer parts)"
    parts = train(toy(), dataclasses.replace(CONFIG, accumulate=4))
    assert equal(found.state, parts.state)
    assert [row["train_loss"] for row in found.history] == [row["train_loss"] for row in parts.history]


class Keeping(Hungry):
    """Remembers what it computed when it found no memory."""

    most, seen = 4, None

    def forward(self, images):
        found = super(Hungry, self).forward(images)
        if self.training and len(images) > self.most:
            self.seen = weakref.ref(found)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found


def test_nothing_of_a_step_that_found_no_memory_is_kept_while_its_checkpoint_is_read(tmp_path, monkeypatch):
    net, read, load = Keeping(), [], checkpoint.load

    def watched(folder, device="cpu"):
        read.append((net.seen and net.seen(), str(device), any(p.grad is not None for p in net.parameters())))
        return load(folder, device)

    monkeypatch.setattr(checkpoint, "load", watched)
    train(net, checkpoints=tmp_path)
    assert net.seen is not None and net.seen() is None
    assert read == [(None, "cpu", False)] * 2


class Convolved(torch.nn.Module):
    """One example has many values a channel for its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.norm(self.conv(images.permute(0, 3, 1, 2) / 255)).mean(dim=(2, 3)))


@pytest.mark.parametrize("how", [{"batch_size": 1}, {"accumulate": 5}, {"batch_size": 3, "accumulate": 2}])
def test_parts_of_one_example_are_refused_before_the_start_where_a_batch_norm_cannot_train_on_them(how):
    config = dataclasses.replace(CONFIG, epochs=1, **how)
    said = r"train\.batch_size: found a batch of \d with train\.accumulate \d; expected two examples for each part"
    with pytest.raises(ConfigError, match=said):
        train(toy(), config)
    train(Convolved(), config)


def test_parts_are_as_many_as_can_train():
    def most(net, **how):
        config = dataclasses.replace(CONFIG, **how)
        return net, feed.Feed(images(40), IMAGE, config, config.batch_size, ("a", "b"))

    net, read = most(toy())
    state = torch.get_rng_state()
    assert finding.most_parts(net, read) == 4
    assert torch.equal(torch.get_rng_state(), state) and int(net.body[2].num_batches_tracked) == 0
    assert finding.most_parts(*most(toy(), batch_size=7)) == 3  # of 40 examples: 6 or 7 a batch
    assert finding.most_parts(*most(Convolved())) == 8
    assert finding.most_parts(*most(torch.nn.Linear(1, 1))) == 8


FINER = """
1 2 2 no
3 2 6 no
3 4 8 no
1 8 8 no
1 16 8 yes
20 2 20 yes
"""


@pytest.mark.parametrize("row", FINER.split("\n")[1:-1])
def test_a_batch_is_cut_finer_until_each_example_is_by_itself(row):
    accumulate, times, parts, again = [int(word) if word.isdigit() else word == "yes" for word in row.split()]
    config = dataclasses.replace(CONFIG, accumulate=accumulate)
    read = feed.Feed(images(40), IMAGE, config, 8, ("a", "b"))
    found = finding.finer(finding.Found(8, 1.0, accumulate), times, torch.nn.Linear(1, 1), read)
    assert (found.parts, found.recompute) == (parts, again)


def test_memory_for_not_even_one_example_is_an_error(tmp_path):
    net = Hungry()
    net.most = 0
    with pytest.raises(TrainingError, match=r"too small for a batch in 4 parts .CUDA out of memory.* smaller model"):
        train(net, checkpoints=tmp_path)
    with pytest.raises(TrainingError, match="too small for a batch in 1 parts"):
        train(net)


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
sys.path.insert(0, {root!r})
from tests.fit import toys
from pipeline.examples import ImageInputs, Split
from pipeline import memory
from pipeline.fit import loop
from pipeline.loader import kernel
import dataclasses

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 64, 3, padding=1), nn.Linear(64, 2)
    def forward(self, images):
        return self.head(torch.relu(self.conv(images.permute(0, 3, 1, 2) / 255)).mean(dim=(2, 3)))

random = np.random.default_rng(0)
labels = np.arange(64) % 2
pixels = (random.integers(0, 100, (64, 96, 96, 1)) + 100 * labels[:, None, None, None]).astype(np.uint8)
split = Split(labels, np.eye(2, dtype=np.float32)[labels], images=pixels)
data = loop.Data(split, split, ImageInputs(96, 96, 1, (0.5,), (0.25,)), toys.TWO)
torch.manual_seed(0)
net = Wide()
config = dataclasses.replace(toys.CONFIG, batch_size=64, epochs=1)
toys.train(toys.toy(), dataclasses.replace(toys.CONFIG, epochs=1))  # loads what is compiled before the limit
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + {spare} * 2**20,) * 2)
assert 0 < memory.free() <= {spare} * 2**20
found = toys.train(net, config, data=data, checkpoints=Path({folder!r}))
print(found.found.parts)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory that Linux keeps")
@pytest.mark.slow
def test_a_real_limit_of_memory_is_survived(tmp_path):
    """A batch of 64 keeps 64 × 64 × 96 × 96 floats at least twice: over 300 MB."""
    script = LIMITED.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path), spare=280)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1
    assert checkpoint.load(tmp_path)["found"]["parts"] == int(done.stdout)


def test_a_range_test_trains_what_the_first_epoch_does(monkeypatch):
    begun = []
    begin = Stepper.begin
    monkeypatch.setattr(Stepper, "begin", lambda self, frozen: (begun.append(frozen), begin(self, frozen)))
    config = dataclasses.replace(CONFIG, epochs=2, optimizer=adamw.Config(learning_rate="auto"), freeze=Freeze(1))
    train(toy(), config)
    assert begun == [2, 2, 1]


def test_nothing_can_be_frozen_where_there_is_a_head_alone():
    data = loop.Data(images(40), images(16, seed=1), IMAGE, TWO)
    net = toy()
    with pytest.raises(ConfigError, match=r"train\.freeze\.epochs: found 1, where the model is a head alone"):
        loop.fit(net, [net], data, dataclasses.replace(CONFIG, freeze=Freeze(1)))
