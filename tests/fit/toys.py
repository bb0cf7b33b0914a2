"""A toy network and toy data that every test of the loop trains."""

import numpy as np
import torch
from torch import nn

from pipeline.examples import ImageInputs, Split
from pipeline.fit import loop
from pipeline.fit.settings import Config
from pipeline.optimizers import adamw
from pipeline.targets import Target

IMAGE = ImageInputs(8, 8, 1, (0.5,), (0.25,))
TWO = Target("classes", ("a", "b"))
CONFIG = Config(epochs=4, batch_size=8, patience=10, optimizer=adamw.Config(learning_rate=0.02))


class Brightness(nn.Module):
    """With what a run must restore: batch norm's counts, dropout's draws."""

    def __init__(self, outputs=2):
        super().__init__()
        layers = [nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, outputs)]
        self.body = nn.Sequential(*layers)

    def forward(self, images):
        return self.body(images.float() / 255)


def stages(net):
    return [net.body[1], net.body[2], net.body[4]] if isinstance(net, Brightness) else list(net.children())


def toy(outputs=2):
    torch.manual_seed(0)
    return Brightness(outputs)


def images(count, seed=0):
    """Every other one is brighter."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 128, (count, 8, 8, 1)) + 100 * labels[:, None, None, None]
    return Split(labels, np.eye(2, dtype=np.float32)[labels], images=pixels.astype(np.uint8))


def train(net, config=CONFIG, *, data=None, checkpoints=None, **hooks):
    found = data or loop.Data(images(40), images(16, seed=1), IMAGE, TWO)
    return loop.fit(net, stages(net), found, config, checkpoints=checkpoints, hooks=loop.Hooks(**hooks))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stopping(done, after):
    """Hooks that gather the steps done, and stop once there are so many."""
    return {"on_step": lambda step, total: done.append(step), "stop": lambda: len(done) == after}
