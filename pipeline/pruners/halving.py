"""Asynchronous successive halving (ASHA): at each rung of epochs the best of every `factor` trials go on.

After Li et al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.pruners._rungs import Rungs, fewest, first, last

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["Config", "build", "fewest", "first", "last"]


@dataclass(frozen=True)
class Config(Rungs):
    name: Literal["halving"] = "halving"


def build(config: Config, epochs: int) -> "BasePruner":
    """epochs: that a trial has at most."""
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(min_resource=config.first, reduction_factor=config.factor)
