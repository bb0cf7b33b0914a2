"""The one training loop: any network of network.py, on a CPU or a CUDA device.

All randomness of an epoch (its order, its augmentation, its dropout) is drawn from the seed and the epoch's
number, so that a run resumed after any epoch is bit-equal to the unbroken one on the same device and threads.
N examples, B examples of a batch, K classes.
"""

import copy
import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import batches, checkpoint, metrics, sampling
from pipeline.config import setting
from pipeline.errors import ConfigError, TrainingError
from pipeline.examples import ImageInputs, Split
from pipeline.loader.draws import Augmentation, Crop
from pipeline.loader.reading import Loader
from pipeline.network import Inputs, predict
from pipeline.sampling import Sampling

log = logging.getLogger(__name__)
Row = dict[str, float]


@dataclass(frozen=True)
class Config:
    epochs: int = setting(30, low=1, high=10_000)
    batch_size: int = setting(64, low=1, high=65_536, unit="examples")
    learning_rate: float = setting(2e-3, above=0, high=10, unit="the highest, after warm-up")
    weight_decay: float = setting(0.05, low=0, high=10)
    warmup: float = setting(0.1, low=0, below=1, unit="share of all steps")
    patience: int = setting(10, low=1, high=10_000, unit="epochs without a better validation loss")
    label_smoothing: float = setting(0.0, low=0, below=1)
    gradient_norm: float = setting(5.0, above=0, unit="longer gradients are shortened to it")
    flips: Literal["none", "horizontal", "both"] = "horizontal"
    shift: float = setting(0.05, low=0, high=0.5, unit="share of an image's side")
    crop: Crop | None = None  # a random part of each image, resized to the whole
    unknown_tokens: float = setting(0.0, low=0, below=1, unit="share of a text's tokens")
    sampling: Sampling | dict[str, float] = "natural"  # of train; a mapping gives classes' weights, 1 where it has none
    seed: int = setting(0, low=0, high=2**32 - 1)
    threads: int = setting(1, low=1, high=256, unit="CPU threads; another number gives other roundings")
    filling: int | None = setting(None, low=1, high=256, unit="threads that fill image batches; null: by the cores")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"


@dataclass(frozen=True)
class Fit:
    """The best weights, whose epoch had the lowest validation loss, and what happened on the way."""

    state: dict[str, Tensor]
    best_epoch: int  # from 1
    history: list[Row]  # one row an epoch, as `on_epoch` got it
    device: str


def choose_device(config: Config) -> tuple[torch.device, str]:
    """The device to train on and the reason. Raises: ConfigError when CUDA is asked for and absent."""
    found = torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise ConfigError("train.device: found cuda, and PyTorch sees no CUDA device; set it to auto or cpu")
    if config.device == "cpu" or not found:
        return torch.device("cpu"), "as train.device says" if config.device == "cpu" else "no CUDA device was found"
    return torch.device("cuda"), f"{torch.cuda.get_device_name()} was found"


def choose_precision(config: Config, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in. Raises: ConfigError for fp16 on a CPU."""
    if config.precision == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("train.precision: found fp16 on a CPU; expected auto, fp32 or bf16")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]


def steps(config: Config, examples: int) -> int:
    """Optimiser steps of a whole run whose epochs have so many examples."""
    return config.epochs * -(-examples // config.batch_size)


def order(config: Config, train: Split, classes: Sequence[str]) -> batches.Order | None:
    """Draws an epoch's rows as `config.sampling` says; None where that is each of them once.

    Raises: ConfigError for the weight of an unknown class.
    """
    if config.sampling == "natural":
        return None
    try:
        weights = config.sampling if isinstance(config.sampling, str) else sampling.checked(config.sampling, classes)
    except ValueError as error:
        raise ConfigError(f"train.{error}") from None
    return functools.partial(sampling.epoch, train.labels, len(classes), weights)


def seen(config: Config, train: Split, classes: Sequence[str]) -> int:
    """Examples of an epoch."""
    drawn = order(config, train, classes)
    return len(drawn(np.random.default_rng(0))) if drawn else len(train)


def rate(config: Config, step: int, total: int) -> float:
    """The learning rate of a step: linear warm-up, then half a cosine to zero."""
    warm = max(1, round(config.warmup * total))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) / 2


def fit(
    net: nn.Module,
    train: Split,
    validation: Split,
    inputs: Inputs,
    config: Config,
    *,
    classes: Sequence[str] = (),
    checkpoints: Path | None = None,
    on_epoch: Callable[[Row], None] = lambda row: None,
    on_step: Callable[[int], None] = lambda done: None,
) -> Fit:
    """Trains `net` in place and leaves the best weights in it; resumes from what lies in `checkpoints`.

    `classes` are those that `config.sampling` may name. `on_epoch` gets every epoch's row, those before a resumption
    at once; `on_step` the number of steps done.
    Raises: TrainingError within a step of a loss that is not finite; the last checkpoint stays.
    """
    device, reason = choose_device(config)
    with _settings(config, device):
        if isinstance(inputs, ImageInputs):
            net.to(memory_format=torch.channels_last)  # a quarter faster on a CPU, and what tensor cores want
        run = _Run(net.to(device), train, validation, inputs, config, device, classes)
        if checkpoints is not None:
            run.resume(checkpoints)
        for row in run.history:
            on_epoch(row)
        left = run.seconds_an_epoch() * (config.epochs - run.epoch) / 60
        log.info("training on %s (%s), %s; at most %.1f minutes", device, reason, run.precision, left)
        while not run.finished:
            on_epoch(run.one_epoch(on_step))
            if checkpoints is not None:
                checkpoint.save(checkpoints, run.state())
    net.load_state_dict(run.best)
    return Fit({name: value.cpu() for name, value in run.best.items()}, run.best_epoch, run.history, device.type)


@contextmanager
def _settings(config: Config, device: torch.device) -> Iterator[None]:
    """Threads, determinism and random state for a run; as they were before, afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            yield
    finally:
        torch.set_num_threads(threads)


class _Run:
    """What changes from step to step."""

    def __init__(
        self,
        net: nn.Module,
        train: Split,
        validation: Split,
        inputs: Inputs,
        config: Config,
        device: torch.device,
        classes: Sequence[str],
    ):
        self.net, self.train, self.validation, self.inputs = net, train, validation, inputs
        self.config, self.device = config, device
        self.precision = choose_precision(config, device)
        self.optimizer = torch.optim.AdamW(_groups(net, config), lr=config.learning_rate)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.order, self.seen = order(config, train, classes), seen(config, train, classes)
        self.total = steps(config, self.seen)
        self.epoch, self.step, self.best_epoch, self.best_loss = 0, 0, 0, math.inf
        self.best: dict[str, Tensor] = copy.deepcopy(net.state_dict())
        self.history: list[Row] = []
        self.loader = self._loader()

    def _loader(self) -> Loader | None:
        """What reads images; texts are short enough to be read as they are wanted."""
        if not isinstance(self.inputs, ImageInputs):
            return None
        config, images = self.config, self.train.images
        assert images is not None
        return Loader(
            images,
            batch_size=config.batch_size,
            augmentation=Augmentation(config.flips, config.shift, config.crop),
            seed=config.seed,
            size=(self.inputs.height, self.inputs.width),
            filling=config.filling,
            pinned=self.device.type == "cuda",
            order=self.order,
        )

    @property
    def finished(self) -> bool:
        return self.epoch >= self.config.epochs or self.epoch - self.best_epoch >= self.config.patience

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "history": self.history,
        }

    def resume(self, folder: Path) -> None:
        state = checkpoint.load(folder, self.device)
        if state is None:
            return
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name in ("epoch", "step", "best", "best_epoch", "best_loss", "history"):
            setattr(self, name, state[name])
        log.info("resuming after epoch %d of %d", self.epoch, self.config.epochs)

    def one_epoch(self, on_step: Callable[[int], None]) -> Row:
        """Trains one epoch, measures it on the validation split and remembers the weights if they are the best."""
        started = time.perf_counter()
        seed, _ = batches.begin(self.config.seed, self.epoch)
        torch.manual_seed(seed)
        self.net.train()
        total = 0.0
        with closing(self._batches(self.epoch)) as found:
            for rows, arrays in found:
                total += self._one_step(rows, arrays) * len(rows)
                on_step(self.step)
        self.epoch += 1
        row: Row = {"epoch": self.epoch, "train_loss": total / self.seen} | self._validate()
        row["learning_rate"] = rate(self.config, self.step - 1, self.total)
        row["seconds"] = time.perf_counter() - started
        if row["validation_loss"] < self.best_loss:
            self.best_loss, self.best_epoch = row["validation_loss"], self.epoch
            self.best = copy.deepcopy(self.net.state_dict())
        self.history.append(row)
        return row

    def _batches(self, epoch: int) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """The rows of each batch of an epoch and what the network reads of them."""
        if self.loader is not None:
            with closing(self.loader.epoch(epoch)) as found:
                yield from ((batch.rows, batch.images) for batch in found)
            return
        _, random = batches.begin(self.config.seed, epoch)
        for rows in batches.shuffled(self.train, self.inputs, self.config.batch_size, random, self.order):
            ids = batches.read(self.train, rows, self.inputs)
            yield rows, batches.blanked(ids, random, self.config.unknown_tokens) if self.config.unknown_tokens else ids

    def _one_step(self, rows: np.ndarray, arrays: np.ndarray) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.config, self.step, self.total)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self.net, rows, arrays)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.gradient_norm)
        if not self.scaler.is_enabled() and not torch.isfinite(norm):
            raise self._diverged(f"the gradient's norm is {norm.item()}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return value

    def _loss(self, net: nn.Module, rows: np.ndarray, arrays: np.ndarray) -> Tensor:
        """Cross-entropy of one batch against its soft targets."""
        targets = torch.from_numpy(self.train.targets[rows]).to(self.device, torch.float32)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not torch.float32):
            logits = net(torch.from_numpy(arrays).to(self.device, non_blocking=True))
        return functional.cross_entropy(logits.float(), targets, label_smoothing=self.config.label_smoothing)

    def _validate(self) -> Row:
        probabilities = predict(self.net, self.validation, self.inputs, device=self.device)
        if not np.isfinite(probabilities).all():
            raise self._diverged("a validation probability is not a number")
        certain = np.clip(probabilities, 1e-7, 1)
        loss = float(-(self.validation.targets * np.log(certain)).sum(axis=1).mean())
        names = [str(k) for k in range(probabilities.shape[1])]
        measured = metrics.score(self.validation.labels, probabilities, names)
        return {
            "validation_loss": loss,
            "validation_accuracy": measured["accuracy"],
            "validation_macro_f1": measured["macro_f1"],
        }

    def seconds_an_epoch(self) -> float:
        """An estimate from four batches on a copy, so that the run itself is not touched."""
        with closing(self._batches(0)) as found:
            some = [(rows, arrays.copy()) for rows, arrays in itertools.islice(found, 4)]
        net = copy.deepcopy(self.net).train()
        self._loss(net, *some[0]).backward()
        measured = some[1:] or some
        started = time.perf_counter()
        for rows, arrays in measured:
            self._loss(net, rows, arrays).backward()
        count = (self.seen + len(self.validation) / 3) / self.config.batch_size
        return (time.perf_counter() - started) / len(measured) * count

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"train: {what} in epoch {self.epoch + 1}, step {self.step + 1}; expected a finite number; "
            f"lower train.learning_rate ({self.config.learning_rate:g}); the checkpoint of epoch {self.epoch} is kept"
        )


def _groups(net: nn.Module, config: Config) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: norms, biases and embeddings, where it only blurs, go without."""
    kept = {id(p) for layer in net.modules() if isinstance(layer, nn.Embedding) for p in layer.parameters()}
    decayed = [p for p in net.parameters() if p.ndim > 1 and id(p) not in kept]
    others = [p for p in net.parameters() if p.ndim <= 1 or id(p) in kept]
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
