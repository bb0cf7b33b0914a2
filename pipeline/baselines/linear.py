"""What every linear baseline returns: logits = x · coefficientsᵀ + intercept, probabilities = softmax of logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Linear:
    """A fitted linear model of F features and K classes."""

    arrays: Mapping[str, np.ndarray]  # coefficients float32 [K, F], intercept float32 [K]
    record: Mapping[str, Any]  # what it is, for baseline.json
    probabilities: Mapping[str, np.ndarray]  # of validation and test, float32 [N, K]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows [N, K] of numbers as probabilities, float32."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
