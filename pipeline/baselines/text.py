"""The simple model first: multinomial logistic regression on TF-IDF of word and character n-grams.

N texts, F terms, K classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import prepared
from pipeline.baselines.linear import Linear, softmax
from pipeline.config import setting
from pipeline.features import text


@dataclass(frozen=True)
class Config:
    strength: float = setting(5.0, above=0, unit="C, the inverse of the regularisation")
    iterations: int = setting(300, low=1, high=100_000, unit="steps of the solver, at most")


def fit(folder: Path, features: Path, config: Config) -> Linear:
    """Fitted on train. The solver starts from zero and draws nothing: the same data give the same model."""
    from sklearn.linear_model import LogisticRegression

    x = text.weights(folder, features)
    labels = prepared.labels(folder, "train")
    labels = labels[text.counting(features, "train", len(labels))]
    count = len(prepared.classes(folder))
    model = LogisticRegression(C=config.strength, max_iter=config.iterations, tol=1e-3).fit(x["train"], labels)
    coefficients, intercept = np.zeros((count, x["train"].shape[1])), np.full(count, -30.0)
    if len(model.classes_) == 2:  # one row for both classes: half of it each way has the same softmax
        coefficients[model.classes_] = np.stack([-model.coef_[0], model.coef_[0]]) / 2
        intercept[model.classes_] = np.array([-1, 1]) * model.intercept_[0] / 2
    else:
        coefficients[model.classes_] = model.coef_
        intercept[model.classes_] = model.intercept_
    arrays = {"coefficients": coefficients.astype(np.float32), "intercept": intercept.astype(np.float32)}
    record: dict[str, Any] = {
        "model": "logistic regression on TF-IDF",
        "terms": x["train"].shape[1],
        "fitted_texts": x["train"].shape[0],
        "iterations": int(model.n_iter_.max()),
    }

    def probabilities(split: str) -> np.ndarray:
        return softmax(x[split] @ arrays["coefficients"].T + arrays["intercept"])

    return Linear(arrays, record, {split: probabilities(split) for split in ("validation", "test")})
