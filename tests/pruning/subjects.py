"""Small trained-like networks as subjects of pruning, with data that they can learn in an epoch or two."""

import importlib

import numpy as np
import torch

from pipeline import network
from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.fit import loop
from pipeline.fit.settings import Config
from pipeline.network import Network
from pipeline.optimizers import adamw
from pipeline.pruning import tuning
from pipeline.pruning.cutting import Subject
from pipeline.pruning.settings import Prune
from pipeline.pruning.tuning import Tuner
from pipeline.targets import Target

TEXTS, IMAGES = TextInputs(1024, 12), ImageInputs(16, 16, 1, (0.5,), (0.25,))
TWO = Target("classes", ("a", "b"))
TRAIN = Config(epochs=8, batch_size=16, device="cpu", optimizer=adamw.Config(learning_rate=0.03))
SMALL = {
    "gru": {"embedding": 32, "width": 32},
    "textcnn": {"embedding": 32, "channels": 32, "kernels": (1, 3), "dropout": 0.1},
    "fasttext": {"embedding": 32, "buckets": 64},
    "linear": {},
    "resnet": {"width": 32},
}


class Ids:
    """Rows of ids [N, T], 0 behind each text."""

    def __init__(self, ids):
        self.ids, self.lengths = ids, (ids != 0).sum(axis=1)

    def padded(self, rows, length):
        return self.ids[rows, : max(1, self.lengths[rows].max())]


def texts(count, seed=0):
    """Two words of each text tell its class, a common one of a low number and a rare one; the others say nothing."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    ids = np.minimum(20 + random.geometric(0.005, (count, 12)), 1023)
    common, rare = random.integers(0, 8, (2, count))
    told = random.random((2, count)) < 0.7
    ids[:, 0] = np.where(told[0], 2 + 8 * labels + common, ids[:, 0])
    ids[:, 1] = np.where(told[1], 980 + 8 * labels + rare, ids[:, 1])
    ids[::3, 8:] = 0
    return Split(labels, np.eye(2, dtype=np.float32)[labels], texts=Ids(ids))


def images(count, seed=0):
    """Every other one is brighter."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 160, (count, 16, 16, 1)) + 60 * labels[:, None, None, None]
    return Split(labels, np.eye(2, dtype=np.float32)[labels], images=pixels.astype(np.uint8))


def data(name, train=128, validation=64):
    made, inputs = (images, IMAGES) if name == "resnet" else (texts, TEXTS)
    return loop.Data(made(train), made(validation, seed=1), inputs, TWO)


def counts(split):
    found = np.bincount(split.texts.ids.ravel(), minlength=TEXTS.vocabulary)
    found[0] = 0
    return found


def subject(name, **settings):
    """The network of a model's file with drawn weights, as if it was trained."""
    module = importlib.import_module(f"pipeline.models.{name}")
    config, inputs = module.Config(**SMALL[name] | settings), IMAGES if name == "resnet" else TEXTS
    torch.manual_seed(0)
    made = network.network(module, config, inputs, TWO)
    made.net.eval()
    return Subject(module, config, inputs, TWO, made, None if name == "resnet" else counts(texts(64)))


def learnt(name, **settings):
    """A subject that knows its data, and its data."""
    found, seen = subject(name, **settings), data(name)
    loop.fit(found.trained.net, found.trained.stages, seen, TRAIN)
    found.trained.net.eval()
    return found, seen


def accuracy(seen):
    return lambda found: float((found.argmax(axis=1) == seen.validation.labels).mean())


def tuner(name, found, seen, folder, **settings):
    taught = tuning.answers(found.trained.net, seen, train=True)
    return Tuner(seen, TRAIN, Prune(**settings), folder, taught)


def judge(seen):
    return lambda made: tuning.judge(made.net, seen, accuracy(seen))


def answers(made: Network, count=5):
    made.net.eval()
    reads_images = any(isinstance(part, torch.nn.Conv2d) for part in made.net.modules())
    split = images(count, seed=2) if reads_images else texts(count, seed=2)
    batch = split.images if reads_images else split.texts.ids
    with torch.inference_mode():
        return made.net(torch.from_numpy(batch))
