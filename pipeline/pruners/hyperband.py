"""Successive halving in several brackets, of which each lets its trials go further before the first rung.

After Li et al., Hyperband, arXiv 1603.06560. Suits a space in which the first epochs tell little.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@dataclass(frozen=True)
class Config:
    name: Literal["hyperband"] = "hyperband"
    first: int = setting(1, low=1, high=10_000, unit="epochs up to the first rung of the first bracket")
    factor: int = setting(3, low=2, high=100, unit="of so many trials one goes on, for so many times the epochs")


def build(config: Config, epochs: int) -> "BasePruner":
    """epochs: that a trial has at most."""
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(min_resource=config.first, max_resource=epochs, reduction_factor=config.factor)


def fewest(config: Config) -> int:
    """Trials below which it cannot compare any; 0: it ends none."""
    return 2


def first(config: Config) -> int:
    """A trial's first epoch after which it may be ended."""
    return config.first


def last(config: Config, epochs: int) -> int:
    """A trial's last epoch after which it may be ended: what goes on from a rung then comes to its end, `epochs`."""
    return epochs // config.factor
