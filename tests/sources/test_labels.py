"""What a table says of each row, for both sources that read tables."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.examples import Example
from pipeline.sources import _asked, delivery, elpv, image_folder, image_table, text_files, text_table

LABELS = {"target": "labels", "separator": ";"}


def read(path: Path, **settings: Any) -> list[Example]:
    parsed = config.parse(text_table.Config, {"path": str(path), **settings}, "source")
    return list(text_table.read(parsed))


def table(tmp_path: Path, *cells: str, heading: str = "text,label") -> Path:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([heading, *(f"t{k},{cell}" for k, cell in enumerate(cells))]) + "\n", "utf-8")
    return path


def test_several_labels_of_a_cell_are_in_one_order_without_repetition(tmp_path: Path) -> None:
    found = read(table(tmp_path, "b; a", "a;b;a;", "c"), **LABELS)
    assert [example.label for example in found] == ["a|b", "a|b", "c"]


def test_an_empty_cell_is_refused_unless_it_says_that_none_applies(tmp_path: Path) -> None:
    path = table(tmp_path, "", "a;b", ";")
    said = [(example.label, example.refused) for example in read(path, **LABELS)]
    assert said == [
        (None, "no label (column 'label')"),
        ("a|b", None),
        (None, "no label between the separators (column 'label')"),
    ]
    assert read(path, **LABELS, unlabelled="none")[0].label == ""


def test_a_name_with_the_tables_own_mark_is_refused(tmp_path: Path) -> None:
    assert read(table(tmp_path, "x|y;z"), **LABELS)[0].refused == "a label with | in its name (column 'label')"
    assert read(table(tmp_path, "x|y"), target="labels", separator="|")[0].label == "x|y"


def test_columns_of_ones_and_noughts(tmp_path: Path) -> None:
    path = table(tmp_path, "1,0", "yes,True", "0,0.0", "2,0", ",1", heading="text,funny,sad")
    found = read(path, target="labels", label_columns=["sad", "funny"])
    assert [example.label for example in found] == ["funny", "funny|sad", "", None, None]
    assert found[3].refused == "'2' for a label (column 'funny'), which is neither 1 nor 0"
    assert found[4].refused == "'' for a label (column 'funny'), which is neither 1 nor 0"


def test_a_values_cell_is_taken_as_it_stands(tmp_path: Path) -> None:
    found = read(table(tmp_path, "1.50", "nan", ""), target="value")
    assert [example.label for example in found] == ["1.50", "nan", None]


def test_images_have_labels_and_values_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "labels.csv").write_text("path,label,cat,dog\na.png,3.5,1,1\n")

    def only(**settings: Any) -> str | None:
        parsed = config.parse(image_table.Config, {"path": str(tmp_path), **settings}, "source")
        return next(iter(image_table.read(parsed))).label

    assert only(target="value") == "3.5"
    assert only(target="labels", label_columns=["cat", "dog"]) == "cat|dog"


@pytest.mark.parametrize(
    ("module", "settings", "words"),
    [
        (text_table, {"separator": ";"}, "separator: found ';'; expected it with target: labels alone"),
        (text_table, {"target": "labels"}, "neither separator nor label_columns"),
        (text_table, LABELS | {"label_columns": ["a"]}, "both separator and label_columns"),
        (text_table, {"target": "value", "unlabelled": "none"}, "unlabelled: found 'none'"),
        (text_table, {"target": "labels", "label_columns": ["a", "a"]}, "expected different names without |"),
        (text_table, {"target": "labels", "label_columns": ["text"]}, "which is the text column"),
        (text_table, {"target": "number"}, "one of classes, labels, value"),
        (image_table, {"target": "value", "probability_columns": ["a", "b"]}, "expected target: classes"),
        (image_folder, {"target": "labels"}, "expected classes: a folder's or a file's name is one class; name the"),
        (text_files, {"target": "value"}, "read it with source.name: image_table or text_table"),
        (elpv, {"target": "labels"}, "one of classes, value"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(module: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(module.Config, {"path": "mine", **settings}, "source")
    assert words in str(caught.value)


def test_a_delivery_says_it_in_its_layout() -> None:
    layout = {"name": "text_table", "target": "labels", "label_columns": ["b", "a"]}
    asked = _asked.of(config.parse(delivery.Config, {"path": "mine", "layout": layout}, "source"))
    assert asked.noted == {"target": "labels", "labels": ["a", "b"]}
    assert _asked.of(config.parse(image_folder.Config, {"path": "mine"}, "source")).noted == {}


def test_the_value_of_a_cell_is_its_probability_of_a_defect() -> None:
    found = {example.label for example in elpv.read(elpv.Config(target="value"))}
    assert found == {"0.0", "0.3333333333333333", "0.6666666666666666", "1.0"}
