"""What counts as quality for a task: the section `evaluate`, which compress and evaluate both read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipeline import metrics
from pipeline.config import setting
from pipeline.errors import ConfigError
from pipeline.targets import Kind, Target
from pipeline.wording import nearest

Headline = Literal[
    "auto", "macro_f1", "accuracy", "balanced_accuracy",
    "micro_f1", "exact_match", "average_precision", "roc_auc", "hamming_loss",
    "r2", "mae", "rmse", "pearson", "spearman",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    headline: Headline = "auto"  # macro_f1 of classes and of labels, r2 of a value
    binary: dict[str, tuple[str, ...]] = setting({}, unit="name: classes that count as yes")
    resamples: int = setting(1000, low=100, high=100_000, unit="bootstrap samples behind an interval")
    seed: int = setting(0, low=0, high=2**32 - 1)


def settled(config: Config, kind: Kind, where: str) -> Config:
    """With the headline that a target of this kind has.

    Raises: ConfigError for one that it does not have, and for groups of classes where there are no classes.
    """
    known = metrics.of(kind).HEADLINES
    if config.headline not in ("auto", *known):
        raise ConfigError(
            f"{where}.headline: found {config.headline!r}; expected one of {', '.join(known)}, since the target is "
            f"{kind}{nearest(config.headline, known)}"
        )
    if config.binary and kind != "classes":
        raise ConfigError(f"{where}.binary: found {', '.join(config.binary)}; expected none: the target is {kind}")
    return replace(config, headline=known[0]) if config.headline == "auto" else config


def check(config: Config, target: Target, where: str) -> Config:
    """The settled config. Raises: ConfigError, also for a class in `binary` that the task does not have."""
    for name, members in config.binary.items():
        for member in members:
            if target.kind == "classes" and member not in target.names:
                known = f"{', '.join(target.names)}{nearest(member, target.names)}"
                raise ConfigError(f"{where}.binary.{name}: found the class {member!r}; expected some of {known}")
    return settled(config, target.kind, where)


def figures(config: Config, truth: metrics.Array, answers: metrics.Array, target: Target) -> dict[str, float]:
    """Every metric of `metrics.score` with the groups of this task."""
    return metrics.score(truth, answers, target, config.binary)


def intervals(
    config: Config, truth: metrics.Array, answers: metrics.Array, target: Target
) -> Mapping[str, metrics.Interval]:
    """Every metric with its bootstrap interval."""
    return metrics.interval(truth, answers, target, config.binary, seed=config.seed, resamples=config.resamples)


def gain(
    config: Config, truth: metrics.Array, before: metrics.Array, after: metrics.Array, target: Target
) -> metrics.Interval:
    """How much better the headline of `after` is, on the same resamples; above 0 for the better, also of an error."""
    return metrics.paired_gain(
        truth, before, after, config.headline, target, seed=config.seed, resamples=config.resamples
    )


def chosen(scores: Mapping[str, float], headline: str) -> str:
    """The candidate with the best validation headline; of equals the first, which is the simpler."""
    return max(scores, key=lambda name: metrics.sign(headline) * scores[name])
