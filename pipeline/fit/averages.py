"""Averages of the weights that training goes through, of which the last is judged and kept.

Exponential (EMA) after every step, or the plain mean (SWA) of the last epochs' ends, after Izmailov et al.,
arXiv 1803.05407. A norm's statistics are averaged like weights.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.optim import swa_utils

from pipeline.fit.settings import Average


class Averages:
    def __init__(self, net: nn.Module, settings: Average, epochs: int):
        self._settings = settings
        self._first = round(settings.start * epochs)  # epoch (from 0) whose end is the first of a plain mean
        multi = {"ema": swa_utils.get_ema_multi_avg_fn(settings.decay), "swa": swa_utils.get_swa_multi_avg_fn()}
        self.averaged = swa_utils.AveragedModel(net, multi_avg_fn=multi[settings.kind], use_buffers=True)

    def after_step(self, net: nn.Module) -> None:
        if self._settings.kind == "ema":
            self.averaged.update_parameters(net)

    def after_epoch(self, net: nn.Module, epoch: int) -> None:
        """epoch: the one that has ended, from 0."""
        if self._settings.kind == "swa" and epoch >= self._first:
            self.averaged.update_parameters(net)

    @property
    def ready(self) -> bool:
        """Whether anything has been averaged."""
        return int(self.averaged.n_averaged) > 0


def shown(net: nn.Module, averages: Averages | None) -> nn.Module:
    """The network to judge."""
    return averages.averaged.module if averages is not None and averages.ready else net
