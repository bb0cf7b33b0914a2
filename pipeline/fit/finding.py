"""What a run finds out before it starts, on copies of the network: the batch that fits, and the learning rate.

The rate by a range test, after Smith, arXiv 1506.01186.
"""

import copy
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import batches, distributed, memory
from pipeline.augmentation.batches import Augmentation
from pipeline.errors import ConfigError, StoppedError, TrainingError
from pipeline.fit import distilling, groups, recomputing, suited
from pipeline.fit.feed import Batch, Feed
from pipeline.fit.hardware import Choices
from pipeline.fit.objective import objective
from pipeline.fit.settings import Config
from pipeline.fit.stepping import Stepper

if TYPE_CHECKING:
    from pipeline.fit.loop import Data

log = logging.getLogger(__name__)
LOWEST, HIGHEST, STEPS = 1e-6, 3.0, 100
WINDOW, BEFORE = 9, 20  # losses that are averaged; and those of rates that are too low to move anything
CERTAIN = 5.0  # standard errors by which the loss has to fall
STEPS_AN_EPOCH = 16  # that a batch size found leaves: less is slow to learn
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
            said["batch_size"] = f"{self.batch_size} (the largest that fits, with {STEPS_AN_EPOCH} steps an epoch left)"
        if config.optimizer.learning_rate == "auto":
            said["learning_rate"] = f"{self.rate:g} (by a range test)"
        if self.recompute and not recomputing.parts(stages[:-1]):
            said["recompute"] = "off (no stage but the head keeps more than its inputs)"
        elif config.recompute != "auto":
            said["recompute"] = f"{config.recompute} (as train.recompute says)"
        elif self.recompute:
            said["recompute"] = "stages (the memory was too small for what they keep)"
        if self.parts > config.accumulate:
            said["accumulate"] = f"{self.parts} (the memory was too small for fewer parts)"
        return said


def find(
    net: nn.Module,
    stages: Sequence[nn.Module],
    data: "Data",
    config: Config,
    choices: Choices,
    stop: Callable[[], bool] = lambda: False,
) -> Found:
    """What is not given. The network is as its file built it: what `distributed.synced` makes of it comes later.

    Raises: StoppedError where `stop`, asked between steps, says so on any rank.
    """
    given, rate = config.batch_size, config.optimizer.learning_rate
    count = len(data.train)
    size = min(given, count) if isinstance(given, int) else count
    found = Found(size, 1.0, config.accumulate, config.recompute == "stages")

    def trained(size: int) -> None:
        """A step on this rank's share by itself: ranks with less memory stop earlier than others."""
        require_rows(net, feed(data, config, choices, size))
        share = -(-size // distributed.world())
        with distributed.alone():
            tried = replace(found, batch_size=share)
            one = stepper(*copy.deepcopy((net, list(stages))), data, config, choices, tried)
            with closing(feed(data, config, choices, share).epoch(0)) as some:
                one.step(next(some), 1e-6, _blame)
            one.settle()

    if given == "auto":
        most = max(memory.FIRST, 1 << max(0, (count // STEPS_AN_EPOCH).bit_length() - 1))
        found = replace(found, batch_size=memory.largest(trained, min(count, most), choices.device))
        _heed(stop)
    if rate != "auto":
        return replace(found, rate=rate)
    other, same = distributed.synced(*copy.deepcopy((net, list(stages))), choices.device)
    one = stepper(other, same, data, config, choices, found)
    one.begin(groups.frozen(config.freeze, len(same), 0))
    return _range_test(one, feed(data, config, choices, found.batch_size), found, stop)


def _heed(stop: Callable[[], bool]) -> None:
    if distributed.any_of(stop())[0]:
        raise StoppedError("train: stopped before the first epoch; run again to begin anew")


def finer(found: Found, times: int, net: nn.Module, read: Feed) -> Found:
    """With a batch in `times` as many parts as train.accumulate says, as far as each of them can train.

    Where that was not enough, inner values are computed twice.
    """
    most, wanted = most_parts(net, read), times * read.config.accumulate
    again = read.config.recompute == "auto" and wanted >= 2 * most
    return replace(found, parts=max(found.parts, min(wanted, most)), recompute=found.recompute or again)


def most_parts(net: nn.Module, read: Feed) -> int:
    """In which the smallest batch can be computed on each rank, one after the other."""
    rows = read.seen // read.steps // distributed.world()
    return max(1, rows // _least(net, read))


def _least(net: nn.Module, read: Feed) -> int:
    """Examples that a part must have: two where a batch norm has one value a channel of one example.

    Maps of more than one pixel have more. A batch norm over all ranks counts the others' examples too.
    """
    kinds = [type(part) for part in net.modules() if isinstance(part, _BatchNorm)]
    if all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds):
        return 1
    device = next(net.parameters()).device
    one = torch.from_numpy(batches.read(read.train, np.zeros(1, np.int64), read.inputs)).to(device)
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            copy.deepcopy(net).train()(one)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return 2
    except memory.RAISED as error:
        if not memory.exhausted(error):
            raise
        return 2  # one is no help
    return 1


def require_rows(net: nn.Module, read: Feed) -> None:
    """Raises: ConfigError where a batch norm would get too few examples of a batch on some rank."""
    batch, parts = read.seen // read.steps, read.config.accumulate
    rows = batch // distributed.world()
    if distributed.world() > 1 and rows < 2 and any(isinstance(part, _BatchNorm) for part in net.modules()):
        raise ConfigError(
            f"train.parallel.processes: found {distributed.world()}, with {rows} of a batch's {batch} "
            "examples for each; expected two at least, since the model has batch norms; raise train.batch_size"
        )
    if rows // parts < 2 and _least(net, read) > 1:
        raise ConfigError(
            f"train.batch_size: found a batch of {rows} with train.accumulate {parts}; expected two examples for each "
            "part, since the model's batch norms cannot train on one; raise train.batch_size or lower train.accumulate"
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


def _range_test(one: Stepper, read: Feed, found: Found, stop: Callable[[], bool]) -> Found:
    """Trains with a rate that grows at every step; takes that at which half of the loss's fall is done, or the default.

    `one` has a rate of 1 and has begun an epoch.
    """
    rates: list[float] = []
    losses: list[float] = []
    single: list[float] = []
    mean = 0.0
    for k, batch in enumerate(_batches(read)):
        _heed(stop)
        rate = LOWEST * (HIGHEST / LOWEST) ** (k / (STEPS - 1))
        failed = False
        try:
            loss = float(one.step(batch, rate, _blame))
            one.settle()
        except TrainingError:
            failed = True
        if distributed.any_of(failed)[0]:
            break
        single.append(distributed.total(loss) / batch.count)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * single[-1]
        rates.append(rate)
        losses.append(mean / (1 - SMOOTHING ** (k + 1)))
        if losses[-1] > GIVEN_UP * min(losses):
            break
    rate = halfway(rates, single)
    if rate is None:
        rate = type(one.config.optimizer)().learning_rate
        log.warning(
            "train.optimizer.learning_rate: no rate of %g to %g made the loss fall by more than batches differ; %g is "
            "taken, the optimiser's own default; set a number if it does not learn", LOWEST, HIGHEST, rate,
        )  # fmt: skip
    return replace(found, rate=rate, rates=tuple(rates), losses=tuple(losses))


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


def halfway(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which half of the loss's fall is done, from where rates move nothing to its lowest.

    It is near the steepest place, and does not hang on how single batches differ, as that does. None where the loss
    never falls by more than batches differ. losses: those of single batches, which are smoothed here.
    """
    if len(losses) < BEFORE + WINDOW:
        return None
    smooth = np.convolve(losses, np.ones(WINDOW) / WINDOW, "valid")
    lowest = int(np.argmin(smooth))
    first = np.asarray(losses[:BEFORE])
    fallen = first.mean() - smooth[lowest]
    if lowest < BEFORE or fallen < CERTAIN * first.std() / np.sqrt(WINDOW):
        return None
    above = np.flatnonzero(smooth[: lowest + 1] > first.mean() - fallen / 2)  # the last of these, not the first below
    return float(f"{rates[int(above[-1]) + 1 + WINDOW // 2]:.2g}")
