"""The rate falls at once, by the same factor, every so many epochs."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import setting
from pipeline.schedules import _place
from pipeline.schedules._place import Place


@dataclass(frozen=True)
class Config:
    name: Literal["step"] = "step"
    warmup: float = setting(0.0, low=0, below=1, unit="share of all steps in which the rate rises")
    every: int = setting(30, low=1, high=10_000, unit="epochs")
    factor: float = setting(0.1, above=0, below=1, unit="what is left of the rate each time")


def factor(config: Config, place: Place) -> float:
    """What the rate is multiplied by at a step."""
    warm = _place.warming(config.warmup, place)
    return config.factor ** (place.step // (config.every * place.an_epoch)) if warm is None else warm
