"""Adam, after Kingma and Ba, arXiv 1412.6980; weight decay is L2, part of the gradient."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch.optim import Optimizer

FUSED = ("cpu", "cuda")
"""Kinds of device on which PyTorch has it as one kernel."""


@dataclass(frozen=True)
class Config:
    name: Literal["adam"] = "adam"
    learning_rate: float | Literal["auto"] = setting(1e-3, above=0, high=100, unit="the highest; auto: by a range test")
    weight_decay: float = setting(0.0, low=0, high=10, unit="L2, added to the gradient")
    beta1: float = setting(0.9, low=0, below=1, unit="share of the mean gradient that is kept")
    beta2: float = setting(0.999, low=0, below=1, unit="share of the mean square that is kept")
    epsilon: float = setting(1e-8, above=0, high=1)


def build(config: Config, groups: list[dict[str, Any]], *, fused: bool) -> "Optimizer":
    """Of parameter groups that each say `lr` and `weight_decay`."""
    import torch

    return torch.optim.Adam(groups, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=fused)
