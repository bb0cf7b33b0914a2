"""Adagrad, after Duchi, Hazan and Singer (2011): each weight's rate falls with the gradients it has had."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch.optim import Optimizer

FUSED = ("cpu",)
"""Kinds of device on which PyTorch has it as one kernel."""


@dataclass(frozen=True)
class Config:
    name: Literal["adagrad"] = "adagrad"
    learning_rate: float | Literal["auto"] = setting(1e-2, above=0, high=100, unit="the highest; auto: by a range test")
    weight_decay: float = setting(0.0, low=0, high=10, unit="L2, added to the gradient")
    epsilon: float = setting(1e-10, above=0, high=1)


def build(config: Config, groups: list[dict[str, Any]], *, fused: bool) -> "Optimizer":
    """Of parameter groups that each say `lr` and `weight_decay`."""
    import torch

    return torch.optim.Adagrad(groups, eps=config.epsilon, fused=fused)
