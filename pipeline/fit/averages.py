"""Averages of the weights that training goes through, of which the last is judged and kept.

Exponential (EMA) after every step, or the plain mean (SWA) of the last epochs' ends, after Izmailov et al.,
arXiv 1803.05407. A norm's statistics are averaged like weights. An exponential one forgets faster at first, so that
a short run does not keep its random start: after n steps its decay is at most (1 + n) / (10 + n), as in TensorFlow's
tf.train.ExponentialMovingAverage.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from pipeline.fit.settings import Average


class Averages:
    def __init__(self, net: nn.Module, settings: Average, epochs: int):
        self._settings = settings
        self._before = settings.before(epochs)
        if settings.kind == "ema":
            how: dict[str, Any] = {"multi_avg_fn": self._exponential}
        else:
            how = {"avg_fn": _mean}
        self.averaged = swa_utils.AveragedModel(net, use_buffers=True, **how)

    def after_step(self, net: nn.Module) -> None:
        if self._settings.kind == "ema":
            self.averaged.update_parameters(net)

    def after_epoch(self, net: nn.Module, epoch: int) -> None:
        """epoch: the one that has ended, from 1."""
        if self._settings.kind == "swa" and epoch > self._before:
            self.averaged.update_parameters(net)

    def _exponential(self, averaged: Sequence[Tensor], new: Sequence[Tensor], _: Any) -> None:
        """Of tensors of one type; of whole numbers, such as what a model knows of its vocabulary, the last count."""
        if averaged[0].is_floating_point():
            done = int(self.averaged.n_averaged)  # on the CPU, unlike the count that is handed over
            decay = min(self._settings.decay, (1 + done) / (10 + done))
            swa_utils.get_ema_multi_avg_fn(decay)(list(averaged), list(new), done)
        else:
            torch._foreach_copy_(list(averaged), list(new))

    @property
    def ready(self) -> bool:
        """Whether anything has been averaged."""
        return int(self.averaged.n_averaged) > 0


def _mean(averaged: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """What is counted in whole numbers, such as a norm's batches, is no mean: the last counts."""
    return averaged + (new - averaged) / (count + 1) if new.is_floating_point() else new


def shown(net: nn.Module, averages: Averages | None) -> nn.Module:
    """The network to judge."""
    return averages.averaged.module if averages is not None and averages.ready else net
