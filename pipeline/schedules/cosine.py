"""Half a cosine down from the highest rate, after a warm-up. After Loshchilov and Hutter, arXiv 1608.03983."""

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.config import setting
from pipeline.schedules import _place
from pipeline.schedules._place import Place


@dataclass(frozen=True)
class Config:
    name: Literal["cosine"] = "cosine"
    warmup: float = setting(0.1, low=0, below=1, unit="share of all steps in which the rate rises")
    final: float = setting(0.0, low=0, below=1, unit="of the highest rate, at the end")


def factor(config: Config, place: Place) -> float:
    """What the rate is multiplied by at a step."""
    warm = _place.warming(config.warmup, place)
    if warm is not None:
        return warm
    return config.final + (1 - config.final) * (1 + math.cos(math.pi * _place.progress(config.warmup, place))) / 2
