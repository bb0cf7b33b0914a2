"""A simple classifier of images, in seconds: a linear SVM on histograms of oriented gradients of small grey copies.

N images, F values of a histogram.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.near.images import GREY
from pipeline.validation import image

if TYPE_CHECKING:
    import pandas as pd

MODEL = "linear SVM on gradients"
COLUMNS: tuple[str, ...] = ()
MOST = 10_000  # distinct images


def features(rows: "pd.DataFrame", files: Path, config: image.Config) -> np.ndarray:
    """float32 [N, F]; zeros for an image that can no longer be read. The rows are those of the manifest."""
    from skimage.feature import hog

    found: dict[int, np.ndarray] = {}
    for number, measured in image.seen(rows, files, config):
        if "grey" in measured:
            grey = np.frombuffer(measured["grey"], np.uint8).reshape(GREY, GREY)
            found[number] = hog(grey, 9, (8, 8), (2, 2), feature_vector=True).astype(np.float32)
    out = np.zeros((len(rows), max((len(row) for row in found.values()), default=1)), np.float32)
    for number, row in found.items():
        out[number] = row
    return out


def fit(x: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What tells the label of each row of a matrix like x."""
    from sklearn.svm import LinearSVC

    predict: Callable[[np.ndarray], np.ndarray] = LinearSVC(C=0.01, random_state=0).fit(x, labels).predict
    return predict
