"""The same rate all along, after a warm-up."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import setting
from pipeline.schedules import _place
from pipeline.schedules._place import Place


@dataclass(frozen=True)
class Config:
    name: Literal["constant"] = "constant"
    warmup: float = setting(0.0, low=0, below=1, unit="share of all steps in which the rate rises")


def factor(config: Config, place: Place) -> float:
    """What the rate is multiplied by at a step."""
    warm = _place.warming(config.warmup, place)
    return 1.0 if warm is None else warm
