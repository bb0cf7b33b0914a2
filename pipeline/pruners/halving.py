"""Asynchronous successive halving (ASHA): at each rung of epochs the best of every `factor` trials go on.

After Li et al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@dataclass(frozen=True)
class Config:
    name: Literal["halving"] = "halving"
    first: int = setting(1, low=1, high=10_000, unit="epochs up to the first rung")
    factor: int = setting(3, low=2, high=100, unit="of so many trials one goes on, for so many times the epochs")


def build(config: Config, epochs: int) -> "BasePruner":
    """epochs: that a trial has at most."""
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(min_resource=config.first, reduction_factor=config.factor)


def fewest(config: Config) -> int:
    """Trials below which it cannot compare any; 0: it ends none."""
    return 2


def first(config: Config) -> int:
    """A trial's first epoch after which it may be ended."""
    return config.first


def last(config: Config, epochs: int) -> int:
    """A trial's last epoch after which it may be ended: what goes on from a rung then comes to its end, `epochs`."""
    return epochs // config.factor
