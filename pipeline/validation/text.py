"""What is measured of texts, and what is expected of them. Lengths are in characters of the cleaned text."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import setting
from pipeline.expectations import Rule, Severity
from pipeline.features import cleaning
from pipeline.near import texts
from pipeline.validation import _asked, _outliers, _rules
from pipeline.validation._labels import Labels
from pipeline.validation._outliers import Measure
from pipeline.validation._rules import BETWEEN, IN

if TYPE_CHECKING:
    import pandas as pd

SAME = "content"
"""The column in which equal contents are equal."""
MEASURES = (Measure("length"), Measure("chinese", log=False))
COLUMNS = ("text", "cleaned", "encoding_ok", "length", "chinese")
NAMES = ("encoding", "empty", "too_long", "too_short", "not_chinese", "usual_chinese")
USUAL_CHINESE = 0.2  # below this share of Han characters a text is flagged, not dropped


@dataclass(frozen=True)
class Config:
    min_characters: int = setting(1, low=1, unit="characters")
    max_characters: int = setting(100_000, low=1, unit="characters")
    min_chinese: float = setting(0.0, low=0, high=1, unit="share of Han characters")
    max_undecodable: float = setting(0.1, low=0, high=1, unit="share of all texts")  # more stop the task
    classes: tuple[str, ...] = ()  # the labels there may be; empty: whatever there is
    labels: Labels = field(default_factory=Labels)
    min_value: float | None = setting(None)  # of a value, in its own unit
    max_value: float | None = setting(None)
    min_examples: int = setting(2, low=1, unit="texts of each class")
    near_jaccard: float = setting(0.8, low=0.5, high=1)
    near_method: texts.Method = "auto"  # exact: all pairs; banded: far less work; auto: exact below 50,000 texts
    outliers: dict[str, _outliers.Action] = setting({})  # by measure; flagged where nothing is said
    outlier_fence: float = setting(5.0, above=0, unit="robust standard deviations from the median")
    max_drift: float = setting(0.25, above=0, unit="population stability index")
    severity: dict[str, Severity] = setting({})  # by rule
    tolerance: dict[str, float] = setting({}, low=0, high=1, unit="share of the rows that may break a rule")

    def __post_init__(self) -> None:
        measures = (*MEASURES, _asked.MEASURE)
        _outliers.check(self.outliers, measures)
        _rules.check(self.severity, self.tolerance, [*NAMES, *(f"outlier_{m.column}" for m in measures)])
        if self.min_characters > self.max_characters:
            raise ValueError(f"min_characters {self.min_characters} is above max_characters {self.max_characters}")


def measure(manifest: "pd.DataFrame", files: Path, config: Config, scratch: Path) -> "pd.DataFrame":
    """The manifest with the columns that `rules` names.

    `content` is equal for texts that are equal once cleaned, and decides an example's side of the split.
    """
    import pandas as pd

    cleaned = [cleaning.clean(text) if isinstance(text, str) else "" for text in manifest["text"]]
    refused = manifest["refused"].notna().to_numpy()
    chinese = np.array([cleaning.chinese_share(text) for text in cleaned], np.float64)
    wrong = [not ok for ok in manifest["encoding_ok"]]
    table = manifest.assign(
        length=pd.array([len(text) for text in cleaned], dtype="Int64"),
        chinese=np.where(refused, np.nan, chinese),
        content=[hashlib.sha256(text.encode()).hexdigest() for text in cleaned],
        cleaned=cleaned,
        detail=pd.array(["bytes that the encoding lacks" if row else None for row in wrong], dtype="str"),
    )
    table.loc[refused, "length"] = pd.NA
    return table


def rules(config: Config) -> list[Rule]:
    """In the order in which a row's reason is looked for."""
    advice = (
        f"at most {config.max_undecodable:.0%} in the wrong encoding; set source.encoding: gb18030 (or big5, utf-16) "
        "if the files are in it, or raise validate.max_undecodable"
    )
    encoding = {"column": "encoding_ok", "value_set": [True], "mostly": 1 - config.max_undecodable}
    found = [
        Rule(IN, encoding, "critical", "encoding", advice),
        Rule(BETWEEN, {"column": "length", "min_value": 1}, reason="empty"),
        Rule(BETWEEN, {"column": "length", "max_value": config.max_characters}, reason="too_long"),
        Rule(BETWEEN, {"column": "chinese", "min_value": USUAL_CHINESE, "mostly": 0.5}, "info", name="usual_chinese"),
    ]
    if config.min_characters > 1:
        found.append(Rule(BETWEEN, {"column": "length", "min_value": config.min_characters}, reason="too_short"))
    if config.min_chinese > 0:
        found.append(Rule(BETWEEN, {"column": "chinese", "min_value": config.min_chinese}, reason="not_chinese"))
    return found


def neighbours(accepted: "pd.DataFrame", config: Config, scratch: Path) -> np.ndarray:
    """int64 [M, 2]: pairs of near duplicates, as positions in `accepted`."""
    return texts.neighbours(accepted["cleaned"].tolist(), jaccard=config.near_jaccard, method=config.near_method)
