"""What each rank of the tests trains: `python -m tests.fit.ranked OUT CASE,… PARTS`, as ranks.py starts it."""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline import distributed, pulse, rank
from pipeline.examples import Split, TextInputs
from pipeline.fit import loop
from pipeline.fit.settings import Average, Config, Images, Mixing
from pipeline.initial.settings import Teacher
from pipeline.optimizers import adamw
from pipeline.targets import Target
from pipeline.texts import Texts as Ids
from tests.fit import toys

TEXT = TextInputs(20, 8)
STEPS = Config(
    epochs=4, batch_size=10, patience=100, optimizer=adamw.Config(learning_rate=0.02), images=Images(shift=0.1)
)  # of 47 examples: 5 steps an epoch, of 9 or 10 examples
CASES = {
    "images": STEPS,
    "texts": STEPS,
    "together": dataclasses.replace(
        STEPS, sampling="oversample", class_weights={"a": 2.0}, accumulate=2, gradient_norm=0.05, l1=1e-4
    ),
    "mixed": dataclasses.replace(
        STEPS, mixing=Mixing(mixup=0.5, cutmix=1.0), average=Average(kind="ema", decay=0.9), epochs=2
    ),
    "taught": dataclasses.replace(STEPS, teacher=Teacher(file="weights/t.npy"), accumulate=3, epochs=2),
    "empty": dataclasses.replace(STEPS, batch_size=4, epochs=2),  # 3 or 4 examples for 4 ranks
    "norm": dataclasses.replace(STEPS, epochs=2, batch_size=12, optimizer=adamw.Config(learning_rate=1e-9)),
    "short": dataclasses.replace(STEPS, epochs=1),
    "auto": dataclasses.replace(STEPS, epochs=1, batch_size="auto", mixing=Mixing(mixup=0.5)),
    "nan": STEPS,
    "memory": STEPS,
    "hang": STEPS,
}


class Plain(nn.Module):
    """Images or texts, in double precision, without norms or dropout."""

    def __init__(self, words=False):
        super().__init__()
        torch.manual_seed(0)
        first = nn.Embedding(20, 8) if words else nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        self.body = nn.Sequential(first.double(), nn.Tanh(), nn.Linear(8, 2).double())
        self.words = words

    def forward(self, arrays):
        assert len(arrays), "a recurrent layer would refuse an empty batch"
        if not self.words:
            return self.body(arrays.double() / 255)
        return self.body[2](self.body[1](self.body[0](arrays)).mean(dim=1))


class Small(nn.Module):
    """The last rank has room for 8 images and a batch norm."""

    def __init__(self):
        super().__init__()
        self.body = toys.toy()
        self.most = 8 if os.environ.get("RANK") == "1" else 1000

    def forward(self, arrays):
        if self.training and len(arrays) > self.most:
            raise torch.OutOfMemoryError(f"no room for {len(arrays)}")
        return self.body(arrays)


class Failing(Plain):
    """From its 7th training step on, on the last rank alone, something goes wrong."""

    def __init__(self, what):
        super().__init__()
        self.what, self.steps = what, 0

    def forward(self, arrays):
        self.steps += self.training
        found = super().forward(arrays)
        if self.steps >= 7 and distributed.rank() == distributed.world() - 1:
            if self.what == "nan":
                return found * float("nan")
            if self.what == "hang":
                time.sleep(1000)
            if len(arrays) > 3:
                raise torch.OutOfMemoryError(f"no room for {len(arrays)}\nand more")
        return found


def texts(count, seed):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    rows = [[2 + label, *random.integers(4, 20, random.integers(1, 10)).tolist()] for label in labels]
    return Split(labels, np.eye(2, dtype=np.float32)[labels], texts=Ids.of(rows))


def data(case):
    two = Target("classes", ("a", "b"))
    if case == "texts":
        return loop.Data(texts(47, 0), texts(17, 1), TEXT, two)
    train = toys.images(48 if case == "norm" else 47)
    if case == "together":
        labels = (np.arange(47) % 5 == 0).astype(np.int64)
        train = Split(labels, np.eye(2, dtype=np.float32)[labels], images=train.images)
    taught = np.random.default_rng(2).dirichlet([1, 1], 47).astype(np.float32) if case == "taught" else None
    return loop.Data(
        train, toys.images(17, seed=1), toys.IMAGE, two, name_of=lambda row: f"image {row}", teacher=taught
    )


def build(case):
    if case in ("norm", "auto"):
        return Small() if case == "auto" else toys.toy()
    return Failing(case) if case in ("nan", "memory", "hang") else Plain(words=case == "texts")


def fit(case, out, **how):
    net = build(case)
    parts = [net.body] if isinstance(net, Plain | Small) else toys.stages(net)
    return loop.fit(net, parts, data(case), CASES[case], checkpoints=out / case, **how)


def main():
    out, cases, parts = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
    store = os.environ["DANLU_STORE"]
    for case in cases:
        os.environ["DANLU_STORE"] = f"{store}-{case}"  # each has a group of its own

        def on_step(step, total):
            time.sleep(float(os.environ.get("SLOW", "0")))
            for word in os.environ.get("SIGNALS", "").split():  # rank:step:signal, each once
                which, when, number = (int(part) for part in word.split(":"))
                note = out / f"sent-{word}"
                if which == distributed.rank() and step == when and not note.exists():
                    note.touch()
                    os.kill(os.getpid(), number)

        hooks = loop.Hooks(lambda row: rank.Rows().log(int(row["epoch"]), row), on_step, rank.asked_to_stop)
        found = fit(case, out, hooks=hooks, parts=parts)
        kept = {
            "state": found.state,
            "history": found.history,
            "parts": found.found.parts,
            "size": found.found.batch_size,
        }
        torch.save(kept, out / f"{case}.{pulse.rank()}.pt")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    rank.serve(main)
