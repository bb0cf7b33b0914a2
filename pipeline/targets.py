"""What an example is asked for: one class of several, several labels at once, or a value; and how answers are written.

In every table the column `label` has it as text: the class; the labels in the order of their names with `|` between
them, nothing where none applies; the value as Python writes a float.
N examples, O outputs: a number for each class or label, or the value alone.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["classes", "labels", "value"]
SEPARATOR = "|"
"""Between the labels of one example; no label's name may hold it."""
VALUE = "value"
"""The name of the one output of a value."""
Numbers = float | dict[str, float]
Answer = tuple[str, Numbers]
"""A class and its probability; labels and the probability of each there is; for a value an empty text and the value."""


@dataclass(frozen=True)
class Target:
    """classes: outputs are logits, of which softmax makes probabilities that sum to 1. labels: logits, each of which
    the sigmoid makes a probability of its own. value: the value itself, in the unit that the source gives.
    """

    kind: Kind
    names: tuple[str, ...]  # of the classes or labels; what the value is called
    mean: float = 0.0  # of a value over the train split
    std: float = 1.0

    @property
    def outputs(self) -> int:
        return len(self.names)


def of(record: Mapping[str, Any]) -> Target:
    """The target that `described` told."""
    return Target(record["kind"], tuple(record["names"]), record.get("mean", 0.0), record.get("std", 1.0))


def described(target: Target) -> dict[str, Any]:
    found = asdict(target)
    return found if target.kind == "value" else {key: found[key] for key in ("kind", "names")}


def record(target: Target) -> dict[str, Any]:
    """What a stage's file says of it: `classes`, the names of classes or labels, and `target` for all but classes."""
    names = [] if target.kind == "value" else list(target.names)
    return {"classes": names} | ({} if target.kind == "classes" else {"target": described(target)})


def recorded(found: Mapping[str, Any]) -> Target:
    """The target of a file that `record` is part of."""
    return of(found["target"]) if "target" in found else Target("classes", tuple(found.get("classes", ())))


def joined(names: Iterable[str]) -> str:
    """Labels as the column `label` has them."""
    return SEPARATOR.join(sorted(set(names)))


def parted(text: str) -> list[str]:
    return text.split(SEPARATOR) if text else []


def number(text: str) -> float | None:
    """The finite number that a text writes with a decimal point, or None."""
    if not re.fullmatch(r"\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*", text, re.ASCII):
        return None
    try:
        value = float(text) + 0.0  # no minus zero
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read(outputs: np.ndarray, kind: Kind) -> np.ndarray:
    """Outputs [N, O] as probabilities or values, float32 [N, O]."""
    if kind == "value":
        return outputs.astype(np.float32)
    if kind == "labels":
        return (0.5 * (1 + np.tanh(0.5 * outputs))).astype(np.float32)  # the sigmoid, without an overflow
    with np.errstate(invalid="ignore"):  # of outputs that are not finite, which their reader refuses by name
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def numbers(texts: Iterable[str], target: Target) -> np.ndarray:
    """float32 [N, O] of the column `label`: 1 for the class and each label that is there, or the value."""
    if target.kind == "value":
        return np.array([[float(text)] for text in texts], np.float32).reshape(-1, 1)
    columns = {name: number for number, name in enumerate(target.names)}
    rows = [[text] if target.kind == "classes" else parted(text) for text in texts]
    out = np.zeros((len(rows), len(columns)), np.float32)
    for number, names in enumerate(rows):
        out[number, [columns[name] for name in names]] = 1
    return out


def written(answers: np.ndarray, target: Target) -> list[str]:
    """Answers [N, O] as the column `label` would have them: the likeliest class, every label from 0.5 on, the value."""
    if target.kind == "value":
        return [repr(float(value)) for value in answers[:, 0]]
    if target.kind == "labels":
        return [joined(np.array(target.names, object)[row]) for row in answers >= 0.5]
    return [target.names[k] for k in answers.argmax(axis=1)]


def columns(name: str, answers: np.ndarray, target: Target) -> dict[str, Any]:
    """Answers [N, O] as columns of a table: what is answered as `name`, its probability or each label's beside it."""
    if target.kind == "value":
        return {name: answers[:, 0]}
    if target.kind == "labels":
        return {name: written(answers, target), f"{name}_probability": answers.tolist()}
    best = answers.argmax(axis=1)
    return {name: written(answers, target), f"{name}_probability": answers[np.arange(len(best)), best]}


def answers(table: "pd.DataFrame", name: str, target: Target) -> list[Answer]:
    """What `columns` wrote."""
    if target.kind == "value":
        return [("", float(value)) for value in table[name]]
    if target.kind == "labels":
        found = zip(table[name], table[f"{name}_probability"], strict=True)
        return [(text, dict(zip(target.names, map(float, row), strict=True))) for text, row in found]
    return [(text, float(p)) for text, p in zip(table[name], table[f"{name}_probability"], strict=True)]


def matrix(found: Sequence[Answer], target: Target) -> np.ndarray:
    """Answers to labels or a value as an array [N, O]; a label that they do not tell of has the probability 0."""
    rows = [numbers if isinstance(numbers, dict) else {VALUE: numbers} for _, numbers in found]
    return np.array([[row.get(name, 0.0) for name in target.names] for row in rows], np.float64)
