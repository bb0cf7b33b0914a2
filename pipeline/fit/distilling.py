"""Learning from a teacher's answers beside the targets, after Hinton et al., arXiv 1503.02531.

B examples of a batch, N of a split, O outputs.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import DataError
from pipeline.fit.objective import Objective
from pipeline.initial.settings import Teacher
from pipeline.targets import Target

LEAST = 1e-6  # a probability of which a logarithm is taken


def mixed(loss: Objective, teacher: Teacher, target: Target) -> Objective:
    """From outputs [B, O] and what `beside` made of the targets, [B, 2 O], to losses [B].

    `share` times the loss against the teacher's answers, at the temperature T and times T², so that its gradients are
    of the same size at each; the rest is the loss against the targets.
    """
    against = {"classes": _of_classes, "labels": _of_labels, "value": _of_value}[target.kind]
    share = teacher.share

    def both(outputs: Tensor, targets: Tensor) -> Tensor:
        own, soft = targets.split(target.outputs, dim=1)
        return share * against(outputs, soft, teacher.temperature, target) + (1 - share) * loss(outputs, own)

    return both


def beside(targets: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The targets with the teacher's answers in the columns after them, float32 [N, 2 O]."""
    return np.concatenate([targets, answers], axis=1).astype(np.float32)


def _of_classes(logits: Tensor, soft: Tensor, temperature: float, _: Target) -> Tensor:
    """T² · KL(teacher at T ‖ student at T)."""
    taught = functional.log_softmax(soft.clamp(min=LEAST).log() / temperature, dim=1)
    told = functional.log_softmax(logits / temperature, dim=1)
    return temperature**2 * (taught.exp() * (taught - told)).sum(dim=1)


def _of_labels(logits: Tensor, soft: Tensor, temperature: float, _: Target) -> Tensor:
    """The same for each label's yes and no, on average over the labels."""
    taught = torch.logit(soft, eps=LEAST) / temperature
    told, p = logits / temperature, torch.sigmoid(taught)
    yes = p * (functional.logsigmoid(taught) - functional.logsigmoid(told))
    no = (1 - p) * (functional.logsigmoid(-taught) - functional.logsigmoid(-told))
    return temperature**2 * (yes + no).mean(dim=1)


def _of_value(values: Tensor, soft: Tensor, _: float, target: Target) -> Tensor:
    """The squared error in standard deviations of the train split's values, which no temperature changes."""
    return ((values - soft) / target.std).square().mean(dim=1)


def require(answers: np.ndarray, count: int, target: Target, place: str) -> np.ndarray:
    """The teacher's answers float32 [N, O] to the train split. Raises: DataError for what cannot be any."""
    expected = f"float32 [{count}, {target.outputs}]"
    if target.kind == "value":
        expected += ", the train split's values in its order"
    else:
        expected += f", probabilities of {', '.join(target.names[:5])} in the train split's order"
    wrong = ""
    if answers.shape != (count, target.outputs) or answers.dtype.kind != "f":
        wrong = f"{answers.dtype} {list(answers.shape)}"
    elif not np.isfinite(answers).all():
        wrong = f"row {int(np.argmin(np.isfinite(answers).all(axis=1)))} with what is no number"
    elif target.kind != "value" and (answers.min() < 0 or answers.max() > 1 + 1e-4):
        wrong = f"values from {answers.min():g} to {answers.max():g}"
    elif target.kind == "classes" and not np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        wrong = f"row {int(np.argmax(abs(answers.sum(axis=1) - 1)))} whose sum is not 1"
    if wrong:
        raise DataError(f"train.teacher: {place}: found {wrong}; expected {expected}; make it anew")
    return answers.astype(np.float32)
