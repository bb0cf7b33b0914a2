"""The simple model first: logistic or ridge regression on TF-IDF of word and character n-grams.

N texts, F terms, O outputs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import prepared
from pipeline.baselines.linear import Linear, fitted, one_against_the_rest, ridge
from pipeline.config import setting
from pipeline.features import text


@dataclass(frozen=True)
class Config:
    strength: float = setting(5.0, above=0, unit="C, the inverse of the regularisation")
    iterations: int = setting(300, low=1, high=100_000, unit="steps of the solver, at most")


def fit(folder: Path, features: Path, config: Config) -> Linear:
    """Fitted on train. The solver starts from zero and draws nothing: the same data give the same model.

    Of labels a regression each; of a value a ridge regression.
    """
    x = text.weights(folder, features)
    target, truth = prepared.target(folder), prepared.truth(folder, "train")
    truth = truth[text.counting(features, "train", len(truth))]
    record: dict[str, Any] = {"terms": x["train"].shape[1], "fitted_texts": x["train"].shape[0]}
    if target.kind == "value":
        record["model"] = "ridge regression on TF-IDF"
        coefficients, intercept, strength = ridge(x["train"], truth[:, 0], config.strength)
        return fitted(x, coefficients, intercept, record | {"strength": strength}, target.kind)
    record["model"] = "logistic regression on TF-IDF"
    if target.kind == "labels":
        found = one_against_the_rest(truth, x["train"].shape[1], lambda there: _of_one(x["train"], there, config))
        return fitted(x, *found, record, target.kind)
    model = _regression(x["train"], truth, config)
    coefficients, intercept = np.zeros((target.outputs, x["train"].shape[1])), np.full(target.outputs, -30.0)
    if len(model.classes_) == 2:  # one row for both classes: half of it each way has the same softmax
        coefficients[model.classes_] = np.stack([-model.coef_[0], model.coef_[0]]) / 2
        intercept[model.classes_] = np.array([-1, 1]) * model.intercept_[0] / 2
    else:
        coefficients[model.classes_] = model.coef_
        intercept[model.classes_] = model.intercept_
    return fitted(x, coefficients, intercept, record | {"iterations": int(model.n_iter_.max())}, target.kind)


def _regression(x: Any, truth: np.ndarray, config: Config) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=config.strength, max_iter=config.iterations, tol=1e-3).fit(x, truth)


def _of_one(x: Any, there: np.ndarray, config: Config) -> tuple[np.ndarray, float]:
    model = _regression(x, there, config)
    return model.coef_[0], float(model.intercept_[0])
