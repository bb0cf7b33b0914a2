"""Images to be looked at, and a simple classifier of them that is fitted in seconds.

It is a linear SVM on histograms of oriented gradients of small grey copies. N images, F values of a histogram.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipeline.examination import _sheet
from pipeline.examination._groups import MEMBERS, Group
from pipeline.features import decoding
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


def show(groups: Sequence[Group], rows: "pd.DataFrame", files: Path, config: image.Config, out: Path) -> dict[str, Any]:
    """The groups as a contact sheet, written beside `out`, and what stands under its pictures.

    rows: the manifest's, indexed by id.
    """
    limits = decoding.Limits(bytes=config.max_bytes, pixels=config.max_pixels)

    def picture(name: str) -> Image.Image | None:
        try:
            return decoding.decode(decoding.read(files / str(rows.loc[name, "path"]), limits), limits).image
        except decoding.Undecodable:
            return None

    _sheet.write(groups, picture, out.with_suffix(".png"))
    lines = [
        {
            "title": group.title,
            "more": max(0, group.size - MEMBERS),
            "rows": [{"id": row.id, "label": row.label, "note": row.note} for row in group.rows[:MEMBERS]],
        }
        for group in groups
    ]
    return {"sheet": {"file": out.with_suffix(".png").name, "side": _sheet.SIDE, "lines": lines}}


def vocabulary(accepted: "pd.DataFrame") -> None:
    """Images have none."""
