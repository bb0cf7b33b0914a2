"""Ends a trial whose best epoch so far is worse than the median of the others at that epoch.

After Golovin et al., Google Vizier (2017), section 3.4.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.config import setting

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@dataclass(frozen=True)
class Config:
    name: Literal["median"] = "median"
    startup: int = setting(5, low=1, high=10_000, unit="trials that end before the first is pruned")
    warmup: int = setting(2, low=0, high=10_000, unit="epochs of a trial in which it is not pruned")


def build(config: Config, epochs: int) -> "BasePruner":
    """epochs: that a trial has at most."""
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=config.startup, n_warmup_steps=config.warmup + 1)


def fewest(config: Config) -> int:
    """Trials below which it cannot compare any; 0: it ends none."""
    return config.startup + 1


def first(config: Config) -> int:
    """A trial's first epoch after which it may be ended."""
    return config.warmup + 1


def last(config: Config, epochs: int) -> int:
    """A trial's last epoch after which it may be ended; `epochs`: that it has at most."""
    return epochs - 1
