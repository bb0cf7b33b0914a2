"""A simple classifier of texts, in seconds: TF-IDF of hashed runs of one to three characters and a linear SVM.

N texts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.features import cleaning

if TYPE_CHECKING:
    import pandas as pd

MODEL = "linear SVM on characters"
COLUMNS = ("text",)
MOST = 100_000  # distinct texts
TERMS = 2**18


def features(rows: "pd.DataFrame", files: Path, config: Any) -> Any:
    """Counts of the runs, a sparse matrix [N, TERMS]; the rows are those of the manifest."""
    from sklearn.feature_extraction.text import HashingVectorizer

    settings = {"n_features": TERMS, "alternate_sign": False, "norm": None, "dtype": np.float32}
    count = HashingVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False, **settings)
    return count.transform([cleaning.clean(text) for text in rows["text"]])


def fit(x: Any, labels: np.ndarray) -> Callable[[Any], np.ndarray]:
    """What tells the label of each row of a matrix like x."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    predict: Callable[[Any], np.ndarray] = (
        make_pipeline(TfidfTransformer(sublinear_tf=True), LinearSVC(C=0.3, random_state=0)).fit(x, labels).predict
    )
    return predict
