"""Tree-structured Parzen estimators: draws where good trials are dense. After Bergstra et al., NeurIPS 2011.

All dimensions are drawn together, and the trials that still run count as poor ones, so that workers stay apart.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting
from pipeline.search.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Config:
    name: Literal["tpe"] = "tpe"
    startup: int = setting(10, low=1, high=10_000, unit="trials that are drawn at random first")
    candidates: int = setting(24, low=1, high=10_000, unit="points of which the most promising is tried")


def build(config: Config, space: Space, seed: int) -> "BaseSampler":
    from optuna.samplers import TPESampler

    return TPESampler(n_startup_trials=config.startup, n_ei_candidates=config.candidates, seed=seed)
