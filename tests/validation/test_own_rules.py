import warnings
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.errors import ConfigError
from pipeline.expectations import Rule
from pipeline.validation import _own_rules


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("expectations").mkdir()


def read(entries: object) -> list[Rule]:
    with Path("expectations/mine.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(entries, file)
    return _own_rules.read("mine", ["id", "text", "length"], ["duplicate"])


def test_no_file_no_rules() -> None:
    assert _own_rules.read("mine", ["id"], []) == []


def test_both_spellings_and_a_whole_suite_are_read() -> None:
    regex = {"column": "text", "regex": "[一-龥]", "mostly": 0.9}
    entry = {"type": "expect_column_values_to_match_regex", "kwargs": regex, "severity": "critical", "reason": "no_han"}
    (rule,) = read([entry])
    assert (rule.expectation, rule.arguments, rule.severity) == ("ExpectColumnValuesToMatchRegex", regex, "critical")
    assert (rule.reason, rule.name, rule.origin) == ("no_han", "no_han", "expectations/mine.yaml[0]")
    suite = {
        "name": "old",
        "expectations": [{**entry, "type": "ExpectColumnValuesToMatchRegex", "id": "1", "meta": {}}],
    }
    assert read(suite) == [rule]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "expect_column_values_to_match_regx"}, r"did you mean 'expect_column_values_to_match_regex'"),
        ({"type": "ExpectColumnValuesToBeNul"}, r"did you mean 'ExpectColumnValuesToBeNull'"),
        ({"type": "expect_column_to_exist", "kwargs": {"column": "lenght"}}, r"kwargs.column: .*did you mean 'length'"),
        ({"type": "expect_column_to_exist", "kwarg": {}}, r"\[0\].kwarg: unknown key \(did you mean 'kwargs'\?\)"),
        ({"type": "expect_column_to_exist", "severity": "fatal"}, r"expected one of critical, warning, info"),
        ({"type": "ExpectColumnValuesToBeNull", "reason": "duplicate"}, r"expected a word of your own"),
        ({"type": "expect_column_mean_to_be_between", "reason": "odd"}, r"judges a whole column"),
        ({"kwargs": {}}, r"expected a mapping with type"),
    ],
)
def test_what_is_wrong_is_named(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read([entry])


def test_it_must_be_a_list_of_yaml() -> None:
    with pytest.raises(ConfigError, match="expected a list of expectations"):
        read({"type": "x"})
    Path("expectations/mine.yaml").write_text("- {a: ")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not valid YAML"):
        _own_rules.read("mine", [], [])


def test_the_names_are_those_of_the_library_but_for_what_suits_no_table_of_ours() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from great_expectations import expectations

    known = {name.removeprefix("Expect") for name in dir(expectations) if name.startswith("Expect")} - {"Expectation"}
    assert known >= _own_rules.TABLE | _own_rules.ROWS
    left_out = known - _own_rules.TABLE - _own_rules.ROWS - {"ation"}
    words = ("Query", "OtherTable", "LikePattern", "OrderedList", "TypeToBe", "ecreasing", "Increasing")
    words += ("Outliers", "MulticolumnValues")
    assert all(any(word in name for word in words) for name in left_out), left_out
