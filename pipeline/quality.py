"""What counts as quality for a task: the section `evaluate`, which compress and evaluate both read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline import metrics
from pipeline.config import nearest, setting
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Config:
    headline: Literal["macro_f1", "accuracy", "balanced_accuracy"] = "macro_f1"
    binary: dict[str, tuple[str, ...]] = setting({}, unit="name: classes that count as yes")
    resamples: int = setting(1000, low=100, high=100_000, unit="bootstrap samples behind an interval")
    seed: int = setting(0, low=0, high=2**32 - 1)


def check(config: Config, classes: Sequence[str], where: str) -> None:
    """Raises: ConfigError for a class in `binary` that the task does not have."""
    for name, members in config.binary.items():
        for member in members:
            if member not in classes:
                known = f"{', '.join(classes)}{nearest(member, classes)}"
                raise ConfigError(f"{where}.binary.{name}: found the class {member!r}; expected some of {known}")


def figures(
    config: Config, labels: metrics.Array, probabilities: metrics.Array, classes: Sequence[str]
) -> dict[str, float]:
    """Every metric of `metrics.score` with the groups of this task."""
    return metrics.score(labels, probabilities, classes, config.binary)


def intervals(
    config: Config, labels: metrics.Array, probabilities: metrics.Array, classes: Sequence[str]
) -> Mapping[str, metrics.Interval]:
    """Every metric with its bootstrap interval."""
    return metrics.interval(labels, probabilities, classes, config.binary, seed=config.seed, resamples=config.resamples)


def gain(
    config: Config, labels: metrics.Array, before: metrics.Array, after: metrics.Array, classes: Sequence[str]
) -> metrics.Interval:
    """How much higher the headline of `after` is, on the same resamples."""
    return metrics.paired_gain(
        labels, before, after, config.headline, classes=classes, seed=config.seed, resamples=config.resamples
    )
