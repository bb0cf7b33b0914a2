"""Texts to be looked at, their vocabulary, and a simple classifier of them that is fitted in seconds.

It is a linear SVM on TF-IDF of hashed runs of one to three characters. N texts.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.examination import _charts
from pipeline.examination._groups import MEMBERS, Group
from pipeline.features import cleaning

if TYPE_CHECKING:
    import pandas as pd

MODEL = "linear SVM on characters"
COLUMNS = ("text",)
MOST = 100_000  # distinct texts
TERMS = 2**18
READ = 20_000  # texts whose vocabulary is counted
LONGEST = 160  # characters of a text that are shown
TELLING = 12  # pairs of characters of each class


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


def show(groups: Sequence[Group], rows: "pd.DataFrame", files: Path, config: Any, out: Path) -> dict[str, Any]:
    """The groups with the beginnings of their texts; rows: the manifest's, indexed by id."""
    return {
        "tables": [
            {
                "title": group.title,
                "more": max(0, group.size - MEMBERS),
                "rows": [
                    {
                        "id": row.id,
                        "label": row.label,
                        "note": row.note,
                        "text": str(rows.loc[row.id, "text"])[:LONGEST],
                    }
                    for row in group.rows[:MEMBERS]
                ],
            }
            for group in groups
        ]
    }


def vocabulary(accepted: "pd.DataFrame") -> dict[str, Any]:
    """How the number of distinct characters grows, and the pairs of Han characters that tell each class best."""
    some = accepted.iloc[:: max(1, -(-len(accepted) // READ))]
    mixed = np.random.default_rng(0).permutation(len(some))  # a source often has class after class
    some = some.iloc[mixed]
    texts = [cleaning.clean(text) for text in some["text"]]
    return {
        "texts": len(texts),
        "characters": len(set().union(*texts)),
        "growth": _charts.growth(texts),
        "telling": telling(texts, some["label"].tolist()),
    }


def telling(texts: Sequence[str], labels: Sequence[str]) -> dict[str, list[str]]:
    """By class, the pairs of Han characters with the largest log odds against the other classes, in deviations.

    Monroe, Colaresi and Quinn, Fightin' Words (2008), with an even prior. For the eight largest classes.
    """
    counts: dict[str, Counter[str]] = {label: Counter() for label, _ in Counter(labels).most_common(_charts.MOST)}
    everywhere: Counter[str] = Counter()
    for text, label in zip(texts, labels, strict=True):
        found = {a + b for a, b in itertools.pairwise(text) if cleaning.HAN.match(a) and cleaning.HAN.match(b)}
        everywhere.update(found)
        if label in counts:
            counts[label].update(found)
    return {label: _telling(own, everywhere) for label, own in counts.items()}


def _telling(own: Counter[str], everywhere: Counter[str]) -> list[str]:
    pairs = sorted(pair for pair, count in own.items() if count > 1)
    if not pairs:
        return []
    mine = np.array([own[pair] for pair in pairs]) + 0.5
    others = np.array([everywhere[pair] - own[pair] for pair in pairs]) + 0.5
    odds = np.log(mine / (own.total() + 1)) - np.log(others / (everywhere.total() - own.total() + 1))
    order = np.argsort(-odds / np.sqrt(1 / mine + 1 / others), kind="stable")
    return [pairs[place] for place in order[:TELLING]]
