"""Huber loss, for a value: squared where the error is below delta, in a line above it. After Huber (1964)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("value",)


@dataclass(frozen=True)
class Config:
    name: Literal["huber"] = "huber"
    delta: float = setting(1.0, above=0, high=100, unit="standard deviations of the train split's values")


def build(config: Config, kind: str) -> "Callable[[Tensor, Tensor], Tensor]":
    """Values [B, 1] and targets [B, 1], both in standard deviations of the train split → losses [B]."""
    from torch.nn import functional

    def loss(values: "Tensor", targets: "Tensor") -> "Tensor":
        return functional.huber_loss(values, targets, reduction="none", delta=config.delta).mean(dim=1)

    return loss
