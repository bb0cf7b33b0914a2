from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import artifacts
from pipeline.errors import DataError
from pipeline.validation import _labels, _profile
from pipeline.validation._labels import Labels
from pipeline.validation._outliers import Measure

WIDTH = (Measure("width"),)


def table(width: np.ndarray | list[float], labels: str = "x") -> pd.DataFrame:
    return pd.DataFrame({"width": width, "label": [labels[k % len(labels)] for k in range(len(width))]})


@pytest.mark.parametrize("size", [60, 3000])
def test_chance_alone_is_no_drift_at_any_size(size: int) -> None:
    random = np.random.default_rng(1)
    before = _profile.of(table(random.normal(100, 9, size)), WIDTH, "a")
    assert _profile.drift(table(random.normal(100, 9, size)), before)["width"] < 0.1
    assert _profile.drift(table(random.normal(112, 9, size)), before)["width"] > 0.25


def test_one_common_size_that_becomes_another_is_drift() -> None:
    before = _profile.of(table([300.0] * 90 + [299.0, 301.0] * 5), WIDTH, "a")
    assert _profile.drift(table([300.0] * 90 + [299.0, 301.0] * 5), before)["width"] == 0
    assert _profile.drift(table([299.5] * 100), before)["width"] > 1


def test_new_and_lost_classes_are_drift() -> None:
    before = _profile.of(table([1.0] * 100, "xy"), WIDTH, "a")
    assert _profile.drift(table([1.0] * 100, "xy"), before)["classes"] == 0
    assert _profile.drift(table([1.0] * 100, "xz"), before)["classes"] > 0.25


def test_classes_made_by_other_settings_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    merged = _labels.mark(Labels(merge={"z": ("x", "y")}))
    before = _profile.of(table([1.0] * 100, "xy"), WIDTH, "a")
    assert _profile.drift(table([1.0] * 100, "z"), before, merged) == {"width": 0}
    after = _profile.of(table([1.0] * 100, "z"), WIDTH, "a", merged)
    artifacts.write_json(_profile.path("mine"), {"current": after, "previous": before, "drift": {}})
    assert _profile.read("mine") == {"current": after, "previous": before}
    assert _profile.drift(table([1.0] * 100, "z"), after, merged)["classes"] == 0
    assert "classes" not in _profile.drift(table([1.0] * 100, "xy"), after, _labels.mark(Labels()))


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = _profile.path("mine")
    file.parent.mkdir(parents=True)
    for text in (
        "{",
        "[]",
        '{"current": {"columns": {"a": {"counts": [1], "edges": [2], "ties": []}}}, "previous": null}',
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=r"data/profiles/mine\.json: no profile of the data"):
            _profile.read("mine")


def test_the_order_of_rows_makes_no_version() -> None:
    rows = pd.DataFrame({"id": ["a", "b"], "label": ["x", None], "sha256": ["1", "2"]})
    assert _profile.fingerprint(rows) == _profile.fingerprint(rows[::-1])
    assert _profile.fingerprint(rows) != _profile.fingerprint(rows.assign(label="x"))
