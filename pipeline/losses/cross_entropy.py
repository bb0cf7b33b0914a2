"""Cross-entropy, for one class of several."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("classes",)


@dataclass(frozen=True)
class Config:
    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = setting(0.0, low=0, below=1, unit="share of a target that is spread over all classes")


def build(config: Config, kind: str) -> "Callable[[Tensor, Tensor], Tensor]":
    """Logits [B, K] and probabilities [B, K] → losses [B]."""
    from torch.nn import functional

    def loss(logits: "Tensor", targets: "Tensor") -> "Tensor":
        return functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing, reduction="none")

    return loss
