"""Binary cross-entropy of each label by itself, for several labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("labels",)


@dataclass(frozen=True)
class Config:
    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    label_smoothing: float = setting(0.0, low=0, below=1, unit="share of a target that is moved towards one half")


def build(config: Config, kind: str) -> "Callable[[Tensor, Tensor], Tensor]":
    """Logits [B, K] and targets [B, K] in 0..1 → losses [B, K]."""
    from torch.nn import functional

    def loss(logits: "Tensor", targets: "Tensor") -> "Tensor":
        softer = targets * (1 - config.label_smoothing) + config.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, softer, reduction="none")

    return loss
