"""Mean absolute error, for a value: an error counts as large as it is, so that outliers pull little."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("value",)


@dataclass(frozen=True)
class Config:
    name: Literal["mae"] = "mae"


def build(config: Config, kind: str) -> "Callable[[Tensor, Tensor], Tensor]":
    """Values [B, 1] and targets [B, 1], both in standard deviations of the train split → losses [B]."""
    from torch.nn import functional

    def loss(values: "Tensor", targets: "Tensor") -> "Tensor":
        return functional.l1_loss(values, targets, reduction="none").mean(dim=1)

    return loss
