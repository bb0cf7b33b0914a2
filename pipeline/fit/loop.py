"""The one training loop: any network of network.py, on CPUs or CUDA devices, on one rank or many.

All randomness is drawn from the seed, the epoch's number and the step's, so that a run resumed after any step is
bit-equal to the unbroken one on the same device, threads and ranks.
N examples, O outputs.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import config as settings
from pipeline import distributed, memory, pulse
from pipeline.errors import ExhaustedError, StoppedError, TrainingError
from pipeline.examples import ImageInputs, Split
from pipeline.fit import checkpoint, finding, groups, hardware
from pipeline.fit.averages import Averages, shown
from pipeline.fit.feed import Batch
from pipeline.fit.finding import Found
from pipeline.fit.objective import judge, measure
from pipeline.fit.rewording import Words
from pipeline.fit.settings import Config
from pipeline.network import Inputs, lay_out, predict
from pipeline.schedules._place import Place
from pipeline.targets import Target

log = logging.getLogger(__name__)
Row = dict[str, float]
NAMED = 5  # examples of a batch that an error names
TIMED = 4  # steps after which the run says how long it may take


@dataclass(frozen=True)
class Data:
    """What is learnt: the two splits, what the network reads of them and what it answers."""

    train: Split
    validation: Split
    inputs: Inputs
    target: Target
    name_of: Callable[[int], str] = str  # an example of train, by its row
    words: Words | None = None  # what the augmentation of texts needs
    teacher: np.ndarray | None = None  # what `config.teacher` answers to train, float32 [N, O]


@dataclass(frozen=True)
class Hooks:
    """What a run tells, and when it is to stop."""

    on_epoch: Callable[[Row], None] = lambda row: None  # every epoch's row, those before a resumption at once
    on_step: Callable[[int, int], None] = lambda done, total: None  # steps done, of so many at most
    stop: Callable[[], bool] = lambda: False  # asked after each step and between the batches of a validation


@dataclass(frozen=True)
class Fit:
    """The best weights, whose epoch had the lowest validation loss, and what happened on the way."""

    state: dict[str, Tensor]
    best_epoch: int  # from 1
    history: list[Row]  # one row an epoch, as `on_epoch` got it
    judged: dict[str, Row]  # what these weights know of validation, and of as many examples of train, not augmented
    found: Found  # the batch size, the rate and the parts of a batch that the run took
    choices: dict[str, str]  # by setting: what the run took for it and why


def fit(
    net: nn.Module,
    stages: Sequence[nn.Module],
    data: Data,
    config: Config,
    *,
    checkpoints: Path | None = None,
    hooks: Hooks = Hooks(),
    parts: int = 1,
) -> Fit:
    """Trains `net`, whose `stages` are those of its model's file, in place, and leaves the best weights in it.

    Goes on from what lies in `checkpoints`. parts: of a batch, at least, in place of each of train.accumulate.
    Raises: TrainingError within a step of a number that is not finite, and StoppedError where `hooks.stop` said so;
    the last checkpoint stays.
    """
    images, examples = isinstance(data.inputs, ImageInputs), len(data.train)
    choices = hardware.choose(config, images=images, examples=examples)
    with _settings(choices), distributed.group(choices.device):
        net.to(choices.device)
        lay_out(net, channels_last=choices.channels_last)
        groups.require_stages(config.freeze, stages)
        saved = checkpoint.load(checkpoints) if checkpoints else None
        found = Found(**saved["found"]) if saved else finding.find(net, stages, data, config, choices, hooks.stop)
        net, stages = distributed.synced(net, stages, choices.device)
        choices = hardware.choose(config, images=images, examples=examples, batch_size=found.batch_size)
        if parts > 1:
            found = finding.finer(found, parts, net, finding.feed(data, config, choices, found.batch_size))
        run = _Run(net, stages, data, config, choices, found, checkpoints, hooks)
        if saved:
            run.resume(saved)
        for row in run.at.history:
            hooks.on_epoch(row)
        said = run.reasons()
        log.info("training: %s", "; ".join(f"{name} {reason}" for name, reason in said.items()))
        run.to_the_end()
        net.load_state_dict(run.best)
        known = {"validation": run.judged(net, data.validation)}
        known["train"] = run.judged(net, data.train, len(data.validation))
    state = {name: value.cpu() for name, value in run.best.items()}
    return Fit(state, run.at.best_epoch, run.at.history, known, run.found, run.reasons())


@contextmanager
def _settings(choices: hardware.Choices) -> Iterator[None]:
    """Threads, determinism and random state for a run; as they were before, afterwards."""
    threads = torch.get_num_threads()
    devices = [choices.device] if choices.device.type == "cuda" else []  # by itself it starts every GPU
    torch.set_num_threads(choices.threads)
    try:
        with (
            torch.random.fork_rng(devices),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class _State:
    """What a checkpoint holds of a run beside weights, optimiser and averages."""

    epoch: int = 0  # that is running, or to be run next, from 0
    batch: int = 0  # batches of it that are done: after the last it is judged
    step: int = 0
    losses: list[float] = field(default_factory=list)  # their sum until the checkpoint, by rank
    seconds: float = 0.0  # that it has taken in earlier processes
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[Row] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        net: nn.Module,
        stages: Sequence[nn.Module],
        data: Data,
        config: Config,
        choices: hardware.Choices,
        found: Found,
        folder: Path | None,
        hooks: Hooks,
    ):
        self.net, self.stages, self.data, self.config, self.choices = net, stages, data, config, choices
        self.found, self.folder, self.hooks = found, folder, hooks
        self.feed = finding.feed(data, config, choices, found.batch_size)
        finding.require_rows(net, self.feed)
        self.measure = measure(config, data.target, data.train)
        self.stepper = finding.stepper(net, stages, data, config, choices, found)
        self.averages = Averages(net, config.average, config.epochs) if config.average.kind != "none" else None
        self.schedule = settings.plugin("schedules", config.schedule.name, "train.schedule.name")
        self.total = config.epochs * self.feed.steps
        self.at = _State()
        self.best: dict[str, Tensor] = copy.deepcopy(net.state_dict())
        self.started = self.saved = time.monotonic()
        self.loss = torch.zeros((), dtype=torch.float64, device=choices.device)  # of the running epoch, on this rank

    @property
    def finished(self) -> bool:
        at = self.at
        waits = self.averages is not None and not self.averages.ready  # what is to be judged is yet to come
        return at.epoch >= self.config.epochs or (not waits and at.epoch - at.best_epoch >= self.config.patience)

    def reasons(self) -> dict[str, str]:
        """By setting: what the run takes for it and why."""
        said = dict(self.choices.reasons) | self.found.reasons(self.config, self.stages)
        if self.found.recompute and self.choices.compile != "off":
            said["compile"] = "off (what is computed twice cannot be compiled)"
        return said

    def to_the_end(self) -> None:
        if self.folder and not self.at.step:
            self.save()  # what a run whose first batch does not fit goes on from
        self.started = time.monotonic()
        while not self.finished:
            row, lacked = None, ""
            try:
                row = self._one_epoch()
            except memory.RAISED as error:
                if not memory.exhausted(error):
                    raise
                lacked = _first_line(error)
            if row is None:  # outside of the block above, whose error holds all that the step computed
                self._smaller(lacked)
                continue
            self.hooks.on_epoch(row)
            self.save()

    def _one_epoch(self) -> Row:
        """Trains what is left of an epoch, judges it on the validation split and remembers the weights if best."""
        at = self.at
        self.stepper.begin(groups.frozen(self.config.freeze, len(self.stages), at.epoch))
        if at.batch < self.feed.steps:
            with closing(self.feed.epoch(at.epoch, at.batch)) as found:
                for batch in found:
                    self._one_step(batch)
        self.stepper.settle()
        total = distributed.total(float(self.loss))
        try:
            judged = self.judged(shown(self.net, self.averages), self.data.validation)
        except StoppedError:
            self.save()  # as after the epoch's last step: judging changes nothing
            raise
        self.loss.zero_()
        at.epoch, at.batch = at.epoch + 1, 0
        row: Row = {"epoch": at.epoch, "train_loss": total / self.feed.seen}
        row |= {f"validation_{name}": value for name, value in judged.items()}
        row["learning_rate"] = self.found.rate * self._factor(at.step - 1)
        row["seconds"] = at.seconds + time.monotonic() - self.started
        self.started, at.seconds = time.monotonic(), 0.0
        if row["validation_loss"] < at.best_loss:
            at.best_loss, at.best_epoch = row["validation_loss"], at.epoch
            self.best = copy.deepcopy(shown(self.net, self.averages).state_dict())
        at.history.append(row)
        return row

    def _one_step(self, batch: Batch) -> None:
        at = self.at

        def blame(values: Sequence[float], epoch: int = at.epoch + 1, step: int = at.step + 1) -> TrainingError:
            return self._diverged(values, batch, epoch, step)

        self.loss += self.stepper.step(batch, self._factor(at.step), blame)
        if self.averages:
            self.averages.after_step(self.net)
        at.batch, at.step = at.batch + 1, at.step + 1
        if self.averages and at.batch == self.feed.steps:
            before = self.averages.ready
            self.averages.after_epoch(self.net, at.epoch + 1)
            if self.averages.ready and not before:  # what was best so far was no average
                at.best_loss = math.inf
        pulse.at(at.epoch + 1, at.step)
        self.hooks.on_step(at.step, self.total)
        if at.step == TIMED:
            log.info("training takes at most %s", _duration(self._minutes()))
        due = self.folder is not None and time.monotonic() - self.saved > 60 * self.config.checkpoint_minutes
        stop, due = distributed.any_of(self.hooks.stop(), due)
        if stop or due:
            self.save()
        if stop:
            raise self._stopped()

    def _stopped(self) -> StoppedError:
        where = "after the last epoch" if self.finished else f"in epoch {self.at.epoch + 1}, after step {self.at.step}"
        kept = f"; {self.folder} has the checkpoint: run again to go on" if self.folder else ""
        return StoppedError(f"train: stopped {where}{kept}")

    def _factor(self, step: int) -> float:
        losses = [row["validation_loss"] for row in self.at.history]
        place = Place(step, self.total, self.feed.steps, losses)
        return float(self.schedule.factor(self.config.schedule, place))

    def _minutes(self) -> float:
        """What the whole run may take, by its first steps; a validation costs a third of training on as many."""
        steps = self.feed.steps + len(self.data.validation) / 3 / self.found.batch_size
        return (time.monotonic() - self.started) / TIMED * steps * self.config.epochs / 60

    def judged(self, net: nn.Module, split: Split, most: int | None = None) -> Row:
        """The loss and the measures of a split, or of `most` of its examples, evenly spread."""
        data, device = self.data, self.choices.device
        rows = np.arange(len(split))
        if most is not None and most < len(split):
            rows = np.linspace(0, len(split) - 1, most).round().astype(np.int64)
        try:
            found = predict(net, split, data.inputs, data.target, rows=rows, device=device, stop=self.hooks.stop)
        except StoppedError:
            raise self._stopped() from None
        if not np.isfinite(found).all():
            epoch = self.at.epoch if self.finished else self.at.epoch + 1
            raise TrainingError(
                f"train: an answer is not a number after epoch {epoch}; expected numbers; lower "
                f"train.optimizer.learning_rate ({self.found.rate:g}); the checkpoint before is kept"
            )
        return judge(data.target, found, Split(split.labels[rows], split.targets[rows]), self.measure)

    def save(self) -> None:
        """Writes a checkpoint: every rank has to come here, the first one writes."""
        if self.folder is None:
            return
        self.stepper.settle()
        self.at.losses = distributed.gathered(self.loss.cpu().view(1)).tolist()
        self.at.seconds += time.monotonic() - self.started
        self.started = self.saved = time.monotonic()
        if distributed.rank() == 0:
            checkpoint.save(self.folder, self.state())
            pulse.saved(self.at.step)

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.stepper.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
            "averages": self.averages.averaged.state_dict() if self.averages else {},
            "best": self.best,
            "found": asdict(self.found),
            "at": asdict(self.at),
        }

    def resume(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.stepper.optimizer.load_state_dict(state["optimizer"])
        self.stepper.scaler.load_state_dict(state["scaler"])
        if self.averages:
            self.averages.averaged.load_state_dict(state["averages"])
        self.best, self.at = state["best"], _State(**state["at"])
        self.loss.fill_(self.at.losses[distributed.rank()])
        where = f"epoch {self.at.epoch + 1}, after {self.at.batch} of its {self.feed.steps} batches"
        if self.at.step:
            log.info("resuming in %s", where)

    def _smaller(self, lacked: str) -> None:
        """Goes on from the last checkpoint with a batch in twice as many parts. lacked: the error's words.

        Raises: TrainingError where that cannot be; ExhaustedError on one of several ranks, for which the others wait.
        """
        self.stepper.renew()
        state = checkpoint.load(self.folder) if self.folder else None
        most = finding.most_parts(self.net, self.feed)
        last, parts = self.found.parts >= most, min(2 * self.found.parts, most)
        if state is None or (last and (self.found.recompute or self.config.recompute != "auto")):
            raise TrainingError(
                f"train: the memory is too small for a batch in {self.found.parts} parts ({lacked}); "
                "expected room; take a smaller model or smaller inputs, or set train.accumulate"
            )
        if distributed.world() > 1:
            raise ExhaustedError(f"train: the memory is too small for a batch in {self.found.parts} parts ({lacked})")
        if last:
            log.warning("the memory is too small for %s; inner values are computed twice", lacked)
            self.found = replace(self.found, recompute=True)
            self.stepper.recompute()
        else:
            log.warning("the memory is too small for %s; a batch is computed in %d parts", lacked, parts)
            self.found = replace(self.found, parts=parts)
            self.stepper.parts = parts
        self.resume(state)

    def _diverged(self, values: Sequence[float], batch: Batch, epoch: int, step: int) -> TrainingError:
        loss, *norm = values
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm[0]}"
        names = ", ".join(self.data.name_of(int(row)) for row in batch.rows[:NAMED])
        more = f" and {len(batch.rows) - NAMED:,} more" if len(batch.rows) > NAMED else ""
        error = TrainingError(
            f"train: {what} in epoch {epoch}, step {step}, with the batch of {names}{more}; expected a finite number; "
            f"lower train.optimizer.learning_rate ({self.found.rate:g}) or look at these examples; "
            "the last checkpoint is kept"
        )
        error.certain = not math.isfinite(loss)  # the gradients are those of all ranks
        return error


def _duration(minutes: float) -> str:
    whole = max(1, math.ceil(minutes))
    return f"{whole:,} minute{'s' * (whole > 1)}"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
