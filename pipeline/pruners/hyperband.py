"""Successive halving in several brackets, of which each lets its trials go further before the first rung.

After Li et al., Hyperband, arXiv 1603.06560. Suits a space in which the first epochs tell little.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.pruners._rungs import Rungs, fewest, first, last

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["Config", "build", "fewest", "first", "last"]


@dataclass(frozen=True)
class Config(Rungs):
    name: Literal["hyperband"] = "hyperband"


def build(config: Config, epochs: int) -> "BasePruner":
    """epochs: that a trial has at most."""
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(min_resource=config.first, max_resource=epochs, reduction_factor=config.factor)
