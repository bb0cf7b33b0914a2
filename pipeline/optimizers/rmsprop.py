"""RMSprop, after Hinton, Neural Networks for Machine Learning, lecture 6 (2012); weight decay is L2."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch.optim import Optimizer

FUSED = ()
"""Kinds of device on which PyTorch has it as one kernel."""


@dataclass(frozen=True)
class Config:
    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: float | Literal["auto"] = setting(1e-3, above=0, high=100, unit="the highest; auto: by a range test")
    weight_decay: float = setting(0.0, low=0, high=10, unit="L2, added to the gradient")
    smoothing: float = setting(0.99, low=0, below=1, unit="share of the mean square that is kept")
    momentum: float = setting(0.0, low=0, below=1, unit="share of the last step that is kept")
    epsilon: float = setting(1e-8, above=0, high=1)


def build(config: Config, groups: list[dict[str, Any]], *, fused: bool) -> "Optimizer":
    """Of parameter groups that each say `lr` and `weight_decay`."""
    import torch

    return torch.optim.RMSprop(groups, alpha=config.smoothing, momentum=config.momentum, eps=config.epsilon)
