import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import ConfigError
from pipeline.validation import _labels
from pipeline.validation._labels import Labels

SOME = Labels(names={"0": "cat", "1": "dog"}, merge={"big": ("horse", "cow")}, drop=("dog",))


def manifest(labels: list[str | None], soft: list[dict[str, float] | None] | None = None) -> pd.DataFrame:
    texts = [json.dumps(one) if one else None for one in soft or [None] * len(labels)]
    return pd.DataFrame({"label": pd.array(labels, "str"), "probabilities": pd.array(texts, "str")})


def test_labels_are_named_merged_and_dropped_in_this_order() -> None:
    table = _labels.apply(manifest(["0", "1", "horse", "cow", "hen", None]), SOME)
    assert table["label"].tolist()[:5] == ["cat", "dog", "big", "big", "hen"]
    assert table["label"].isna().tolist() == [False] * 5 + [True]
    assert table["dropped"].tolist() == [False, True, False, False, False, False]


def test_probabilities_follow_their_labels() -> None:
    soft = [{"horse": 0.25, "cow": 0.5, "0": 0.25}, {"0": 0.25, "1": 0.75}, {"1": 1.0}]
    table = _labels.apply(manifest(["cow", "0", "0"], soft), SOME)
    assert json.loads(table["probabilities"][0]) == {"big": 0.75, "cat": 0.25}
    assert json.loads(table["probabilities"][1]) == {"cat": 1.0}
    assert pd.isna(table["probabilities"][2])


def test_a_label_follows_by_its_name_even_where_a_merged_class_is_likelier() -> None:
    soft: list[dict[str, float] | None] = [{"hen": 0.4, "horse": 0.3, "cow": 0.3}]
    table = _labels.apply(manifest(["hen"], soft), SOME)
    assert table["label"].tolist() == ["hen"]
    assert json.loads(table["probabilities"][0]) == pytest.approx({"big": 0.6, "hen": 0.4})


def test_every_change_is_counted_and_a_label_that_no_row_has_is_named() -> None:
    changes = _labels.changes(
        manifest(["0", "0", "1", "horse"])["label"], Labels(SOME.names, SOME.merge, ("dgo", "dog"))
    )
    assert changes["changed"] == {
        "0": {"to": "cat", "rows": 2},
        "1": {"to": "dog", "rows": 1},
        "horse": {"to": "big", "rows": 1},
    }
    assert changes["dropped"] == {"1": 1}
    assert changes["unused"] == ["cow", "dgo (did you mean 'dog'?)"]


def test_without_labels_nothing_changes() -> None:
    before = manifest(["a", None])
    after = _labels.apply(before, Labels())
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert not after["dropped"].any()


def test_impossible_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="merge: found a twice"):
        Labels(merge={"x": ("a",), "y": ("a",)})
    with pytest.raises(ValueError, match="drop: found a, which merge names too"):
        Labels(merge={"x": ("a",)}, drop=("a",))


def test_a_file_says_the_same_and_its_names_may_be_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _labels.read("mine", SOME) == SOME
    file = tmp_path / "expectations/mine.labels.yaml"
    file.parent.mkdir()
    file.write_text("names: [cat, dog]\nmerge: {big: [horse, cow]}\ndrop: [dog]\n")
    assert _labels.read("mine", Labels()) == SOME
    with pytest.raises(ConfigError, match=r"expectations/mine.labels.yaml: params.yaml has validate.labels too"):
        _labels.read("mine", SOME)
    file.write_text("nmaes: {}\n")
    with pytest.raises(ConfigError, match=r"mine.labels.yaml.nmaes: unknown key \(did you mean 'names'\?\)"):
        _labels.read("mine", Labels())
