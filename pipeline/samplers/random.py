"""Draws each trial by itself, uniformly or uniformly in the logarithm."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.search.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Config:
    name: Literal["random"] = "random"


def build(config: Config, space: Space, seed: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)
