"""One long rise and a longer fall, each half a cosine. After Smith and Topin, arXiv 1708.07120."""

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.config import setting
from pipeline.schedules import _place
from pipeline.schedules._place import Place


@dataclass(frozen=True)
class Config:
    name: Literal["one_cycle"] = "one_cycle"
    rise: float = setting(0.3, above=0, below=1, unit="share of all steps in which the rate rises")
    first: float = setting(0.04, above=0, high=1, unit="of the highest rate, at the start")
    last: float = setting(1e-5, low=0, below=1, unit="of the highest rate, at the end")


def factor(config: Config, place: Place) -> float:
    """What the rate is multiplied by at a step."""
    steps = round(config.rise * place.total)
    if place.step < steps:
        return _between(config.first, 1.0, place.step / steps)
    return _between(1.0, config.last, _place.progress(config.rise, place))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
