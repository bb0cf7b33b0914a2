"""What every linear baseline returns: outputs = x · coefficientsᵀ + intercept, and answers as targets.py reads them.

N examples, F features, O outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import targets
from pipeline.targets import Kind

AROUND = (0.1, 1, 10, 100, 1000)
FOLDS = 3


@dataclass(frozen=True)
class Linear:
    arrays: Mapping[str, np.ndarray]  # coefficients float32 [O, F], intercept float32 [O]
    record: Mapping[str, Any]  # what it is, for baseline.json
    probabilities: Mapping[str, np.ndarray]  # of validation and test, float32 [N, O]; of a value the value


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows [N, K] of numbers as probabilities, float32."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def fitted(
    x: Mapping[str, Any], coefficients: np.ndarray, intercept: np.ndarray, record: Mapping[str, Any], kind: Kind
) -> Linear:
    """With its answers; x: the features [N, F] of each split."""
    arrays = {"coefficients": coefficients.astype(np.float32), "intercept": intercept.astype(np.float32)}
    answered = {
        split: targets.read(x[split] @ arrays["coefficients"].T + arrays["intercept"], kind)
        for split in ("validation", "test")
    }
    return Linear(arrays, record, answered)


def one_against_the_rest(
    there: np.ndarray, features: int, fit: Callable[[np.ndarray], tuple[np.ndarray, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [O, F] and intercept [O] of a model a label, there where `there` [N, O] is 1.

    `fit` makes one, [F] and a number, for bool [N]. A label that all or none of the examples have is told by its share
    alone.
    """
    coefficients, intercept = np.zeros((there.shape[1], features)), np.zeros(there.shape[1])
    for number, column in enumerate(there.T >= 0.5):
        if column.all() or not column.any():
            share = (column.sum() + 1) / (len(column) + 2)
            intercept[number] = np.log(share / (1 - share))
        else:
            coefficients[number], intercept[number] = fit(column)
    return coefficients, intercept


def ridge(x: Any, values: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients [1, F] and intercept [1] with the least squared error plus squared coefficients / strength.

    Of strengths around the given one, the one that does best on held-out folds of the train split; it comes third.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, KFold

    alphas = [1 / (strength * factor) for factor in AROUND]
    folds = KFold(min(FOLDS, len(values)), shuffle=True, random_state=0)
    search = GridSearchCV(Ridge(tol=1e-6), {"alpha": alphas}, scoring="neg_mean_squared_error", cv=folds)
    model = search.fit(x, values.astype(np.float64)).best_estimator_
    return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), 1 / float(model.alpha)
