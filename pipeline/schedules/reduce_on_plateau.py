"""The rate falls when the validation loss has not become better for some epochs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.config import setting
from pipeline.schedules import _place
from pipeline.schedules._place import Place


@dataclass(frozen=True)
class Config:
    name: Literal["reduce_on_plateau"] = "reduce_on_plateau"
    warmup: float = setting(0.0, low=0, below=1, unit="share of all steps in which the rate rises")
    factor: float = setting(0.3, above=0, below=1, unit="what is left of the rate each time")
    patience: int = setting(3, low=0, high=10_000, unit="epochs without a better loss that are borne")
    threshold: float = setting(1e-4, low=0, below=1, unit="share by which a loss has to be lower to be better")


def factor(config: Config, place: Place) -> float:
    """What the rate is multiplied by at a step."""
    warm = _place.warming(config.warmup, place)
    return config.factor ** reductions(config, place.losses) if warm is None else warm


def reductions(config: Config, losses: Sequence[float]) -> int:
    """How often the rate has fallen after these epochs."""
    best, borne, count = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - config.threshold):
            best, borne = loss, 0
            continue
        borne += 1
        if borne > config.patience:
            borne, count = 0, count + 1
    return count
