"""Focal loss: examples of which the network is sure count little. After Lin et al., arXiv 1708.02002, equation 4.

For one class of several over their softmax, for several labels over the sigmoid of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("classes", "labels")
TINY = 1e-30
"""Stands for 1 - p where p is 1, far below the next number there is: the answers are the same, the slopes finite."""


@dataclass(frozen=True)
class Config:
    name: Literal["focal"] = "focal"
    gamma: float = setting(2.0, low=0, high=10, unit="how much less a sure answer counts; 0: cross-entropy")


def build(config: Config, kind: str) -> "Callable[[Tensor, Tensor], Tensor]":
    """Logits [B, O] and targets [B, O] in 0..1 → losses [B] of classes, [B, O] of labels."""
    from torch.nn import functional

    def of_classes(logits: "Tensor", targets: "Tensor") -> "Tensor":
        log = functional.log_softmax(logits, dim=1)
        unsure = (1 - log.exp()).clamp_min(TINY)  # of 0 a power below 1 has no slope
        return -(targets * unsure**config.gamma * log).sum(dim=1)

    def of_labels(logits: "Tensor", targets: "Tensor") -> "Tensor":
        yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        unsure, sure = (config.gamma * no).exp(), (config.gamma * yes).exp()
        return -(targets * unsure * yes + (1 - targets) * sure * no)

    return of_labels if kind == "labels" else of_classes
