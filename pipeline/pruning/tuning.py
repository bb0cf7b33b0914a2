"""Fine-tuning of a network that lost parts, and of the control that lost none, with the same settings.

N examples, O outputs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.fit import loop, objective
from pipeline.fit.settings import Config, Freeze, Parallel
from pipeline.initial.settings import Teacher
from pipeline.network import Network, predict
from pipeline.pruning.settings import Prune

log = logging.getLogger(__name__)
TEACHER = "models:/trained@compressed"
"""A name that no registry is asked for: the trained network is the teacher."""


@dataclass(frozen=True)
class Tuner:
    """Trains networks on, each from where it stands, for the same epochs at the same rates."""

    data: loop.Data
    train: Config  # as the network was trained
    settings: Prune
    folder: Path  # of checkpoints, one folder a network
    taught: np.ndarray  # what the trained network answers to the train split, float32 [N, O]
    stop: Callable[[], bool] = lambda: False

    @property
    def epochs(self) -> int:
        return self.settings.epochs_after(self.train.epochs)

    def config(self, *, distilled: bool) -> Config:
        """The settings of the training, shorter, at a lower rate, with a teacher where asked for."""
        train, settings = self.train, self.settings
        assert train.optimizer.learning_rate != "auto", "it has been found"
        optimizer = replace(train.optimizer, learning_rate=train.optimizer.learning_rate * settings.rate)
        teacher = Teacher(model=TEACHER, share=settings.share, temperature=settings.temperature)
        return replace(
            train,
            epochs=self.epochs,
            patience=self.epochs,
            optimizer=optimizer,
            init="random",
            freeze=Freeze(),
            vectors="off",
            parallel=Parallel(),
            teacher=teacher if distilled else None,
        )

    def tune(self, name: str, made: Network, *, distilled: bool) -> loop.Fit:
        """Trains `made` in place and leaves its best weights in it; goes on where a killed run stopped.

        Raises: TrainingError, StoppedError.
        """
        data = replace(self.data, teacher=self.taught) if distilled else self.data
        hooks = loop.Hooks(on_epoch=lambda row: log.info("%s: %s", name, objective.told(row)), stop=self.stop)
        config = self.config(distilled=distilled)
        fitted = loop.fit(made.net, made.stages, data, config, checkpoints=self.folder / name, hooks=hooks)
        made.net.to("cpu").eval()
        return fitted


def answers(net: nn.Module, data: loop.Data, *, train: bool = False) -> np.ndarray:
    """Probabilities or values of the validation split, or of train, float32 [N, O]."""
    split = data.train if train else data.validation
    return predict(net, split, data.inputs, data.target, device=next(net.parameters()).device)


def judge(net: nn.Module, data: loop.Data, headline: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """The headline and the loss on validation."""
    with torch.inference_mode():
        found = answers(net, data)
    return headline(found), objective.judge(data.target, found, data.validation)["loss"]
