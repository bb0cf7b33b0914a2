"""What compression may cost, and what it must gain: the sections `compress.budget` and `compress.target`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline import metrics
from pipeline.config import setting
from pipeline.targets import Target

FEW, MANY = 0.02, 0.01
"""The drop of the headline allowed by default below and from `LARGE` examples: with few, one point is noise."""
CLASS_FEW, CLASS_MANY = 0.05, 0.02
"""The same of a class's recall, by the class's examples: two standard errors where one answer in twenty changes."""
LARGE = 1500
JUDGED = 100
"""Examples from which on a class is judged by itself."""


@dataclass(frozen=True)
class Budget:
    max_drop: float | None = setting(
        None,
        low=0,
        high=1,
        unit="of the headline on validation, for mae and rmse in standard deviations of the value; null: 0.01 from "
        "1,500 validation examples, else 0.02",
    )
    class_drop: float | None = setting(
        None,
        low=0,
        high=1,
        unit="of the recall of each class or label with at least 100 validation examples; null: 0.02 from 1,500 of "
        "them, else 0.05",
    )
    speedup: float | None = setting(None, above=0, high=10_000, unit="times faster than eager PyTorch, at least")
    bytes: int | None = setting(None, low=1, high=2**40, unit="of the served graph, at most")
    disagreement: float | None = setting(
        None, low=0, high=1, unit="share of answers, of values in standard deviations, other than the trained network's"
    )
    bound: Literal["point", "upper_90", "upper_95"] = "point"  # of the drop's paired interval, which must keep max_drop
    judge: Literal["validation", "folds"] = "validation"  # folds: what is chosen so is made anew in each fold, too


@dataclass(frozen=True)
class Device:
    device: Literal["cpu", "cuda"] = "cpu"
    batch_sizes: tuple[int, ...] = setting((1, 32), low=1, high=65_536, unit="examples; the first decides")
    threads: int = setting(1, low=1, high=256, unit="CPU threads while latency is measured")
    rounds: int = setting(40, low=10, high=100_000, unit="turns of each variant, 12 answers each, for its latency")

    def __post_init__(self) -> None:
        if not self.batch_sizes or len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise ValueError(
                f"batch_sizes: found {list(self.batch_sizes)}; expected different numbers, such as [1, 32]"
            )


@dataclass(frozen=True)
class Limits:
    """A budget with its defaults filled in for the rows that judge."""

    max_drop: float  # in the headline's unit
    class_drops: Mapping[str, float]  # by judged class, of its recall
    speedup: float | None
    bytes: int | None
    disagreement: float | None
    bound: Literal["point", "upper_90", "upper_95"]

    @property
    def level(self) -> float:
        """Of the intervals that are told."""
        return 0.9 if self.bound == "upper_90" else 0.95


def limits(budget: Budget, headline: str, truth: np.ndarray, target: Target) -> Limits:
    """truth: int64 [N] of classes, else float32 [N, O]."""
    drop = budget.max_drop if budget.max_drop is not None else (MANY if len(truth) >= LARGE else FEW)
    return Limits(
        drop * (target.std if headline in metrics.IN_UNITS else 1),
        {name: _class_drop(budget, count) for name, count in counts(truth, target).items() if count >= JUDGED},
        budget.speedup,
        budget.bytes,
        budget.disagreement,
        budget.bound,
    )


def counts(truth: np.ndarray, target: Target) -> dict[str, int]:
    """Examples of each class or label; none of a value."""
    if target.kind == "value":
        return {}
    found = np.bincount(truth, minlength=target.outputs) if target.kind == "classes" else (truth >= 0.5).sum(axis=0)
    return dict(zip(target.names, map(int, found), strict=True))


def _class_drop(budget: Budget, count: int) -> float:
    if budget.class_drop is not None:
        return budget.class_drop
    return CLASS_MANY if count >= LARGE else CLASS_FEW
