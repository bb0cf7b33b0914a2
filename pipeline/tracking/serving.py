"""What both served models share: the graph, the answer's table, the refusal of a row.

It travels with the model: no torch, no pickle, nothing of the pipeline but what travels too.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline import targets
from pipeline.errors import RegistryError

if TYPE_CHECKING:
    import pandas as pd

ROWS_AT_ONCE = 32  # so that a large request does not hold all its arrays at the same time


class Graph:
    """An ONNX graph with one output, [B, O], in the engine in which it was measured.

    Raises: RegistryError where that is not installed.
    """

    def __init__(self, path: Path, engine: str = "onnxruntime") -> None:
        runs = importlib.import_module(f"pipeline.engines.{engine}")
        if not runs.installed():
            raise RegistryError(
                f"{path}: found no {runs.PACKAGE}, in which this model was measured; expected it; {runs.INSTALL}, or "
                "install what the model's requirements name"
            )
        self._answer = runs.load(path)

    def logits(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._answer(inputs)
        return found


def engine(record: Mapping[str, Any]) -> str:
    """The engine that a bundle names; older ones name none."""
    return str(record.get("engine", "onnxruntime"))


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities [B, K] of logits [B, K]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def table(outputs: NDArray[Any], record: Mapping[str, Any]) -> "pd.DataFrame":
    """One row an input: label, its probability, and the probability of every class; or labels and the probability of
    each there is; or the value. `record` is the bundle's.
    """
    import pandas as pd

    target = targets.recorded(record)
    if target.kind == "value":
        return pd.DataFrame({targets.VALUE: outputs[:, 0].astype(np.float64)})
    if target.kind == "labels":
        found = targets.read(outputs.astype(np.float64), "labels")
        labels = [targets.parted(text) for text in targets.written(found, target)]
        return pd.DataFrame({"labels": labels, "probabilities": _by_name(target.names, found)})
    return _of_classes(softmax(outputs), target.names)


def _by_name(names: Sequence[str], probabilities: NDArray[Any]) -> list[dict[str, float]]:
    return [dict(zip(names, map(float, row), strict=True)) for row in probabilities]


def _of_classes(probabilities: NDArray[np.float64], classes: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    best = probabilities.argmax(axis=1)
    return pd.DataFrame(
        {
            "label": [classes[k] for k in best],
            "probability": probabilities.max(axis=1),
            "probabilities": _by_name(classes, probabilities),
        }
    )


def refuse(row: int, found: str, expected: str) -> NoReturn:
    """Refuses the request for one of its rows, counted from 0; `mlflow models serve` answers 400."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    raise MlflowException(f"row {row}: found {found}; expected {expected}", INVALID_PARAMETER_VALUE)


def rows(model_input: Any) -> list[Any]:
    """The request's rows: a list, an array, or the one column of a table."""
    if hasattr(model_input, "columns"):
        if model_input.shape[1] != 1:
            refuse(0, f"{model_input.shape[1]} columns", "one")
        return list(model_input.iloc[:, 0])
    return list(model_input)
