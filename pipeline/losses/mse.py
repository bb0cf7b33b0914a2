"""Mean squared error, for a value: large errors count most."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("value",)


@dataclass(frozen=True)
class Config:
    name: Literal["mse"] = "mse"


def build(config: Config, kind: str) -> "Callable[[Tensor, Tensor], Tensor]":
    """Values [B, 1] and targets [B, 1], both in standard deviations of the train split → losses [B]."""
    from torch.nn import functional

    def loss(values: "Tensor", targets: "Tensor") -> "Tensor":
        return functional.mse_loss(values, targets, reduction="none").mean(dim=1)

    return loss
