"""The section `tune`: what is searched, how, and for how long. Nothing here imports Optuna."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.config import setting
from pipeline.pruners import none
from pipeline.samplers import tpe

Measure = Literal["auto", "loss", "accuracy", "macro_f1", "exact", "mae", "r2"]


@dataclass(frozen=True)
class Config:
    trials: int = setting(0, low=0, high=100_000, unit="trials of the search; 0: params.yaml's own values are used")
    minutes: float | None = setting(
        None, above=0, high=1e6, unit="minutes after which no trial goes on, once one has ended"
    )
    space: dict[str, Any] = setting({}, unit="model.… or train.…: a list of values, or {low, high, log, step}")
    own_first: bool = True  # trial 0 has params.yaml's own values where they lie in the space; a grid has its order
    sampler: Any = setting(tpe.Config(), folder="samplers")
    pruner: Any = setting(none.Config(), folder="pruners")
    measure: Measure = "auto"  # of validation, at the epoch with the lowest loss; auto: loss, or what losses share
    workers: int = setting(1, low=1, high=1024, unit="processes that train trials side by side")
    seed: int = setting(0, low=0, high=2**32 - 1)
