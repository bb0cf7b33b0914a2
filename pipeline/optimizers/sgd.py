"""Stochastic gradient descent, with momentum (Polyak 1964, Nesterov 1983) or without; weight decay is L2."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch.optim import Optimizer

FUSED = ("cpu", "cuda")
"""Kinds of device on which PyTorch has it as one kernel."""


@dataclass(frozen=True)
class Config:
    name: Literal["sgd"] = "sgd"
    learning_rate: float | Literal["auto"] = setting(0.05, above=0, high=100, unit="the highest; auto: by a range test")
    weight_decay: float = setting(5e-4, low=0, high=10, unit="L2, added to the gradient")
    momentum: float = setting(0.9, low=0, below=1, unit="share of the last step that is kept; 0: plain descent")
    nesterov: bool = True  # look ahead by the momentum before the gradient is taken

    @property
    def looks_ahead(self) -> bool:
        return self.nesterov and self.momentum > 0


def build(config: Config, groups: list[dict[str, Any]], *, fused: bool) -> "Optimizer":
    """Of parameter groups that each say `lr` and `weight_decay`."""
    import torch

    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.looks_ahead, fused=fused)
