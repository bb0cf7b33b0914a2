"""The simple model first: a linear SVM on histograms of oriented gradients, after Dalal and Triggs (2005).

N images, F values of a histogram, K classes, O outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts, prepared
from pipeline.baselines.linear import Linear, fitted, one_against_the_rest, ridge, softmax
from pipeline.config import setting
from pipeline.errors import DataError


@dataclass(frozen=True)
class Config:
    side: int = setting(96, low=32, high=512, unit="pixels a side at which gradients are taken")
    cell: int = setting(12, low=4, high=64, unit="pixels a side of one histogram")
    orientations: int = setting(9, low=2, high=36)
    strength: float = setting(0.01, above=0, unit="C, the inverse of the regularisation")
    folds: int = setting(3, low=2, high=20, unit="parts of train, for the calibration")
    seed: int = setting(0, low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        if self.side < 3 * self.cell:
            raise ValueError(f"cell: found {self.cell}; expected at most a third of side ({self.side})")


def gradients(images: Iterable[np.ndarray], config: Config) -> np.ndarray:
    """Histograms of oriented gradients, float32 [N, F], of uint8 [H, W, C] each, as grey images of config.side."""
    from PIL import Image
    from skimage.feature import hog

    rows = []
    for pixels in images:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
        if image.size != (config.side, config.side):
            image = image.resize((config.side, config.side), Image.Resampling.BILINEAR)
        cell = (config.cell, config.cell)
        rows.append(hog(np.asarray(image), config.orientations, cell, (2, 2), feature_vector=True))
    return np.stack(rows).astype(np.float32)


def fit(folder: Path, features: Path, config: Config) -> Linear:
    """Fitted on train; its margins become logits by one scale and shift, fitted on margins of held-out folds.

    Of labels a machine each; of a value a ridge regression.
    """
    x = {split: gradients(prepared.images(folder, split), config) for split in artifacts.SPLITS}
    target, truth, values = prepared.target(folder), prepared.truth(folder, "train"), x["train"].shape[1]
    name = "linear SVM on histograms of oriented gradients"
    if target.kind == "value":
        record: dict[str, Any] = {"model": "ridge regression on histograms of oriented gradients", "values": values}
        coefficients, intercept, strength = ridge(x["train"], truth[:, 0], config.strength)
        return fitted(x, coefficients, intercept, record | {"strength": strength}, target.kind)
    if target.kind == "labels":
        found = one_against_the_rest(truth, values, lambda there: _of_one(x["train"], there, config))
        return fitted(x, *found, {"model": name, "values": values}, target.kind)
    if np.unique(truth, return_counts=True)[1].min() < 2:
        raise DataError(f"{folder}: train has one image of a class; expected at least 2; add images of it")
    coefficients, intercept, scale = _machine(x["train"], truth, target.outputs, config)
    return fitted(x, coefficients, intercept, {"model": name, "values": values, "scale": scale}, target.kind)


def _machine(x: np.ndarray, labels: np.ndarray, count: int, config: Config) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients [K, F] and intercept [K] for labels [N] below K, and the scale of the margins."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import LinearSVC

    fewest = int(np.unique(labels, return_counts=True)[1].min())
    model = LinearSVC(C=config.strength, random_state=config.seed).fit(x, labels)
    folds = StratifiedKFold(min(config.folds, fewest), shuffle=True, random_state=config.seed)
    held_out = cross_val_predict(model, x, labels, cv=folds, method="decision_function")
    coefficients, intercept = np.zeros((count, x.shape[1])), np.full(count, -30.0)
    margins, present = _all_classes(held_out), model.classes_
    scale, shift = _calibrate(margins, np.searchsorted(present, labels))
    rows = np.concatenate([-model.coef_, model.coef_]) if len(present) == 2 else model.coef_
    offsets = np.array([-1, 1]) * model.intercept_ if len(present) == 2 else model.intercept_
    coefficients[present] = scale * rows
    intercept[present] = scale * offsets + shift
    return coefficients, intercept, scale


def _of_one(x: np.ndarray, there: np.ndarray, config: Config) -> tuple[np.ndarray, float]:
    """Of one label; one that a single image has, or lacks, is told by its share alone."""
    few = min(there.sum(), (~there).sum())
    if few < 2:
        share = (there.sum() + 1) / (len(there) + 2)
        return np.zeros(x.shape[1]), float(np.log(share / (1 - share)))
    rows, offsets, _ = _machine(x, there.astype(np.int64), 2, config)
    return rows[1] - rows[0], float(offsets[1] - offsets[0])


def _all_classes(margins: np.ndarray) -> np.ndarray:
    """Margins [N, K]; for two classes scikit-learn gives the second's alone, [N]."""
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins


def _calibrate(margins: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale and shift [K] whose softmax(scale × margins + shift) has the least log loss."""
    from scipy.optimize import minimize

    target = np.eye(margins.shape[1])[labels]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        probabilities = softmax(np.exp(values[0]) * margins + values[1:]).astype(np.float64)
        error = probabilities - target
        slope = (error * margins).sum(axis=1).mean() * np.exp(values[0])
        surprise = -np.log(np.clip((probabilities * target).sum(axis=1), 1e-12, 1)).mean()
        return float(surprise), np.concatenate([[slope], error.mean(axis=0)])

    found = minimize(loss, np.zeros(1 + margins.shape[1]), jac=True, method="L-BFGS-B")
    return float(np.exp(found.x[0])), found.x[1:]
