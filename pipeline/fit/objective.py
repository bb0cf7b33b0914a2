"""What training makes small: the loss of each example, weighted by class; and how a validation split is judged.

B examples of a batch, N of a split, O outputs.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from pipeline import metrics
from pipeline.errors import ConfigError
from pipeline.examples import Split
from pipeline.fit import suited
from pipeline.fit.settings import Config
from pipeline.targets import Target
from pipeline.wording import nearest

Objective = Callable[[Tensor, Tensor], Tensor]
Measure = Callable[[np.ndarray, Split], float]
"""The loss of answers [N, O] to a split."""
MOST = 100.0
"""What a balanced label counts for at most, however rare it is; 1/MOST at least."""


def objective(config: Config, target: Target, train: Split, device: torch.device) -> Objective:
    """From outputs [B, O] and targets [B, O], both float32, to losses [B].

    Raises: ConfigError for a loss that is not for this kind of target, and for weights of unknown classes.
    """
    suited.check(config, target.kind)
    module = suited.loss(config, target.kind)
    loss = module.build(config.loss or module.Config(), target.kind)
    if target.kind == "value":
        return lambda values, targets: loss((values - target.mean) / target.std, (targets - target.mean) / target.std)
    weights = class_weights(config.class_weights, target, train.targets)
    if weights is None:
        return (lambda outputs, targets: loss(outputs, targets).mean(dim=1)) if target.kind == "labels" else loss
    held = torch.from_numpy(weights).to(device, torch.float32)
    if target.kind == "labels":
        return lambda outputs, targets: (loss(outputs, targets) * (1 + targets * (held - 1))).mean(dim=1)
    return lambda outputs, targets: loss(outputs, targets) * (targets @ held)


def class_weights(asked: str | Mapping[str, float], target: Target, targets: np.ndarray) -> np.ndarray | None:
    """What each class's examples count for, float64 [O], or how much a label that is there counts for.

    balanced: classes so that each counts for as much in all, with the mean 1; labels as much as the examples
    without it, but for 1/MOST to MOST at the outside, and for 1 where all or no examples have it. Raises: ConfigError.
    """
    if asked == "none":
        return None
    counts = targets.sum(axis=0, dtype=np.float64)
    if isinstance(asked, str):
        there = np.where(counts > 0, counts, np.inf)
        if target.kind == "labels":
            ratio = ((len(targets) - counts) / there).clip(1 / MOST, MOST)
            return np.where((counts > 0) & (counts < len(targets)), ratio, 1.0)
        return len(targets) / (np.count_nonzero(counts) * there)
    for name, weight in asked.items():
        if name not in target.names:
            known = f"{', '.join(target.names)}{nearest(name, target.names)}"
            raise ConfigError(f"train.class_weights: found the class {name!r}; expected some of {known}")
        if not 0 < weight < 1e6:
            raise ConfigError(f"train.class_weights.{name}: found {weight}; expected a number above 0")
    weights = np.array([asked.get(name, 1.0) for name in target.names])
    return weights if target.kind == "labels" else weights * len(targets) / (counts @ weights)


def measure(config: Config, target: Target, train: Split) -> Measure | None:
    """How `config` has a split's answers judged: by the loss that is trained, weights of classes included.

    None where that is the usual one without weights, which `judge` has.
    """
    if config.loss is None and config.class_weights == "none":
        return None
    loss = objective(config, target, train, torch.device("cpu"))

    def measured(found: np.ndarray, split: Split) -> float:
        answers = torch.from_numpy(np.array(found, np.float32))
        if target.kind != "value":  # outputs of which `targets.read` would make these answers
            answers = answers.clip(1e-7, 1 - 1e-7)
            answers = answers.log() if target.kind == "classes" else answers.logit()
        return float(loss(answers, torch.from_numpy(split.targets)).double().mean())

    return measured


def judge(target: Target, found: np.ndarray, split: Split, measure: Measure | None = None) -> dict[str, float]:
    """The `loss`, of which the validation split's decides, and what people read. `found` are answers [N, O]."""
    judged = _judged(target, found, split)
    return judged | {"loss": measure(found, split)} if measure else judged


def _judged(target: Target, found: np.ndarray, split: Split) -> dict[str, float]:
    if target.kind == "value":
        errors = (found - split.targets)[:, 0].astype(np.float64)
        spread = float(np.var(split.targets))
        return {
            "loss": float(np.mean(errors**2)) / target.std**2,
            "mae": float(np.abs(errors).mean()),
            "r2": 1 - float(np.mean(errors**2)) / spread if spread else 0.0,
        }
    certain = np.clip(found, 1e-7, 1)
    if target.kind == "labels":
        no = np.clip(1 - found, 1e-7, 1)
        loss = -(split.targets * np.log(certain) + (1 - split.targets) * np.log(no)).mean()
        measured = metrics.score(split.targets, found, target)
        return {
            "loss": float(loss),
            "exact": measured["exact_match"],
            "macro_f1": measured.get("macro_f1", 0.0),
        }
    loss = -(split.targets * np.log(certain)).sum(axis=1).mean()
    measured = metrics.score(split.labels, found, target)
    return {
        "loss": float(loss),
        "accuracy": measured["accuracy"],
        "macro_f1": measured["macro_f1"],
    }


def ignorance(target: Target, split: Split, measure: Measure | None = None) -> float:
    """The loss of who knows no more than how often each answer is right in a split."""
    mean = split.targets.mean(axis=0, dtype=np.float64)
    return judge(target, np.broadcast_to(mean, split.targets.shape), split, measure)["loss"]


def told(row: Mapping[str, float]) -> str:
    """An epoch's row in words."""
    shown = [
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in row.items() if name.startswith(("train", "val"))
    ]
    return f"epoch {row['epoch']:.0f}: {', '.join(shown)}, {row['seconds']:.1f} s"
