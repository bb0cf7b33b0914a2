"""What a network answers: one class of several, several labels at once, or a value; and how its outputs are read.

N examples, O outputs: a number for each class or label, or the value alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["classes", "labels", "value"]


@dataclass(frozen=True)
class Target:
    """classes: outputs are logits, of which softmax makes probabilities that sum to 1. labels: logits, each of which
    the sigmoid makes a probability of its own. value: the value itself, in the unit that the source gives.
    """

    kind: Kind
    names: tuple[str, ...]  # of the classes or labels; what the value is called
    mean: float = 0.0  # of a value over the train split
    std: float = 1.0

    @property
    def outputs(self) -> int:
        return len(self.names)


def of(record: Mapping[str, Any]) -> Target:
    """The target that `described` told."""
    return Target(record["kind"], tuple(record["names"]), record.get("mean", 0.0), record.get("std", 1.0))


def described(target: Target) -> dict[str, Any]:
    found = asdict(target)
    return found if target.kind == "value" else {key: found[key] for key in ("kind", "names")}


def read(outputs: np.ndarray, kind: Kind) -> np.ndarray:
    """Outputs [N, O] as probabilities or values, float32 [N, O]."""
    if kind == "value":
        return outputs.astype(np.float32)
    if kind == "labels":
        return (1 / (1 + np.exp(-outputs))).astype(np.float32)
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
