"""What a run finds out before it starts, on copies of the network: the batch that fits, and the learning rate.

The rate by a range test, after Smith, arXiv 1506.01186.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import distributed, memory
from pipeline.augmentation.batches import Augmentation
from pipeline.errors import ConfigError, TrainingError
from pipeline.fit import distilling, groups, recomputing, suited
from pipeline.fit.feed import Batch, Feed
from pipeline.fit.hardware import Choices
from pipeline.fit.objective import objective
from pipeline.fit.settings import Config
from pipeline.fit.stepping import Stepper

if TYPE_CHECKING:
    from pipeline.fit.loop import Data

LOWEST, HIGHEST, STEPS = 1e-6, 3.0, 100
SMOOTHING = 0.9  # share of the mean loss that a step keeps
GIVEN_UP = 4.0  # times the lowest loss, above which higher rates are not tried


@dataclass(frozen=True)
class Found:
    batch_size: int
    rate: float
    parts: int  # in which a batch is computed, one after the other
    recompute: bool = False  # inner values of the stages, rather than keep them
    rates: tuple[float, ...] = ()  # of a range test
    losses: tuple[float, ...] = ()  # the smoothed loss at each of them

    def reasons(self, config: Config, stages: Sequence[nn.Module]) -> dict[str, str]:
        """By setting: what it became and why, where it was not given."""
        said = {}
        if config.batch_size == "auto":
            said["batch_size"] = f"{self.batch_size} (the largest that fits)"
        if config.optimizer.learning_rate == "auto":
            said["learning_rate"] = f"{self.rate:g} (the loss falls fastest there in a range test)"
        if self.recompute and not recomputing.parts(stages[:-1]):
            said["recompute"] = "off (no stage but the head keeps more than its inputs)"
        elif config.recompute != "auto":
            said["recompute"] = f"{config.recompute} (as train.recompute says)"
        elif self.recompute:
            said["recompute"] = "stages (the memory was too small for what they keep)"
        if self.parts > config.accumulate:
            said["accumulate"] = f"{self.parts} (the memory was too small for fewer parts)"
        return said


def find(net: nn.Module, stages: Sequence[nn.Module], data: "Data", config: Config, choices: Choices) -> Found:
    given, rate = config.batch_size, config.optimizer.learning_rate
    count = len(data.train)
    size = min(given, count) if isinstance(given, int) else count
    found = Found(size, 1.0, config.accumulate, config.recompute == "stages")

    def trained(size: int) -> None:
        tried = replace(found, batch_size=size)
        one = _copied(net, stages, data, config, choices, tried)
        read = feed(data, config, choices, size)
        require_rows(net, read)
        with closing(read.epoch(0)) as some:
            one.step(next(some), 1e-6, _blame)
        one.settle()

    if given == "auto":
        found = replace(found, batch_size=memory.largest(trained, count, choices.device))
    if rate != "auto":
        return replace(found, rate=rate)
    one = _copied(net, stages, data, config, choices, found)
    one.begin(groups.frozen(config.freeze, len(stages), 0))
    return _range_test(one, feed(data, config, choices, found.batch_size), found)


def require_rows(net: nn.Module, read: Feed) -> None:
    """Raises: ConfigError where a batch norm would get fewer than two examples of a batch on some rank."""
    batch = read.seen // read.steps
    rows = batch // distributed.world()
    if distributed.world() > 1 and rows < 2 and any(isinstance(part, _BatchNorm) for part in net.modules()):
        raise ConfigError(
            f"train.parallel.processes: found {distributed.world()}, with {rows} of a batch's {batch} "
            "examples for each; expected two at least, since the model has batch norms; raise train.batch_size"
        )


def _blame(values: Sequence[float]) -> TrainingError:
    return TrainingError(f"train: found {values[0]} for the loss of a first step; expected a finite number")


def feed(data: "Data", config: Config, choices: Choices, size: int) -> Feed:
    suited.check(config, data.target.kind)
    names = data.target.names if data.target.kind == "classes" else ()
    return Feed(data.train, data.inputs, config, size, names, pinned=choices.device.type == "cuda", words=data.words)


def stepper(
    net: nn.Module, stages: Sequence[nn.Module], data: "Data", config: Config, choices: Choices, found: Found
) -> Stepper:
    loss = objective(config, data.target, data.train, choices.device)
    augmentation = Augmentation(config.images, config.mixing, data.inputs)
    targets = data.train.targets
    if config.teacher and data.teacher is not None:
        loss = distilling.mixed(loss, config.teacher, data.target)
        targets = distilling.beside(targets, data.teacher)
    return Stepper(net, stages, loss, torch.from_numpy(targets), config, choices, found, augmentation)


def _copied(
    net: nn.Module, stages: Sequence[nn.Module], data: "Data", config: Config, choices: Choices, found: Found
) -> Stepper:
    """On a copy of the network."""
    other, same = copy.deepcopy((net, list(stages)))
    return stepper(other, same, data, config, choices, found)


def _range_test(one: Stepper, read: Feed, found: Found) -> Found:
    """Trains with a rate that grows at every step; takes the one at which the loss falls fastest.

    `one` has a rate of 1 and has begun an epoch. Raises: TrainingError where the loss never falls.
    """
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for k, batch in enumerate(_batches(read)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (k / (STEPS - 1))
        failed = False
        try:
            loss = float(one.step(batch, rate, _blame))
            one.settle()
        except TrainingError:
            failed = True
        if distributed.any_of(failed)[0]:
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * distributed.total(loss) / batch.count
        rates.append(rate)
        losses.append(mean / (1 - SMOOTHING ** (k + 1)))
        if losses[-1] > GIVEN_UP * min(losses):
            break
    return replace(found, rate=steepest(rates, losses), rates=tuple(rates), losses=tuple(losses))


def _batches(read: Feed) -> Iterator[Batch]:
    """So many batches, of as many epochs as that takes."""
    left = STEPS
    for epoch in itertools.count():
        with closing(read.epoch(epoch)) as some:
            for batch in itertools.islice(some, left):
                left -= 1
                yield batch
        if not left:
            return


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate, of those before the lowest loss, at which the loss falls fastest by the rate's logarithm.

    Raises: TrainingError.
    """
    end = int(np.argmin(losses)) + 1 if losses else 0
    slopes = np.gradient(np.asarray(losses[:end]), np.log(rates[:end])) if end > 2 else np.zeros(1)
    best = int(np.argmin(slopes))
    if not slopes[best] < 0:
        raise TrainingError(
            "train.optimizer.learning_rate: found no rate at which the loss falls in a range test of "
            f"{LOWEST:g} to {HIGHEST:g}; expected one; set a number, or look at the data"
        )
    return float(f"{rates[best]:.2g}")
