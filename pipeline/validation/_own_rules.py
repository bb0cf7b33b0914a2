"""The user's own expectations: expectations/<task>.yaml, a list in the form that Great Expectations itself writes.

- type: expect_column_values_to_match_regex
  kwargs: {column: text, regex: "[一-龥]"}
  severity: warning       # or critical, which stops the task, or info
  reason: no_han          # rows that break it go to quarantine
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pipeline.errors import ConfigError
from pipeline.expectations import Rule, Severity, snake
from pipeline.validation import _files
from pipeline.wording import nearest

KEYS = ("type", "kwargs", "severity", "reason", "advice")
IGNORED = ("id", "meta", "notes", "description", "rendered_content")  # of a suite's file; they change nothing
TABLE = {  # expectations that judge a column or table as a whole, of great-expectations 1.24
    "ColumnDistinctValuesToBeInSet", "ColumnDistinctValuesToContainSet", "ColumnDistinctValuesToEqualSet",
    "ColumnKLDivergenceToBeLessThan", "ColumnMaxToBeBetween", "ColumnMeanToBeBetween", "ColumnMedianToBeBetween",
    "ColumnMinToBeBetween", "ColumnMostCommonValueToBeInSet", "ColumnProportionOfNonNullValuesToBeBetween",
    "ColumnProportionOfUniqueValuesToBeBetween", "ColumnQuantileValuesToBeBetween", "ColumnStdevToBeBetween",
    "ColumnSumToBeBetween", "ColumnToExist", "ColumnUniqueValueCountToBeBetween", "TableColumnCountToBeBetween",
    "TableColumnCountToEqual", "TableColumnsToMatchSet", "TableRowCountToBeBetween", "TableRowCountToEqual",
}  # fmt: skip
ROWS = {  # and those that name rows
    "ColumnPairValuesAToBeGreaterThanB", "ColumnPairValuesToBeEqual", "ColumnPairValuesToBeInSet",
    "ColumnValueLengthsToBeBetween", "ColumnValueLengthsToEqual", "ColumnValueZScoresToBeLessThan",
    "ColumnValuesToBeBetween", "ColumnValuesToBeDateutilParseable", "ColumnValuesToBeInSet",
    "ColumnValuesToBeInTypeList", "ColumnValuesToBeJsonParseable", "ColumnValuesToBeNull", "ColumnValuesToBeOfType",
    "ColumnValuesToBeUnique", "ColumnValuesToMatchJsonSchema", "ColumnValuesToMatchRegex",
    "ColumnValuesToMatchRegexList", "ColumnValuesToMatchStrftimeFormat", "ColumnValuesToNotBeInSet",
    "ColumnValuesToNotBeNull", "ColumnValuesToNotMatchRegex", "ColumnValuesToNotMatchRegexList",
    "CompoundColumnsToBeUnique", "MulticolumnSumToEqual", "SelectColumnValuesToBeUniqueWithinRecord",
}  # fmt: skip


def path(task: str) -> Path:
    return _files.FOLDER / f"{task}.yaml"


def read(task: str, columns: Sequence[str], own: Sequence[str]) -> list[Rule]:
    """The user's rules for a task, none without a file.

    columns: those that can be named; own: the reasons that the project's rules have.
    Raises: ConfigError, naming file, entry and what is allowed.
    """
    file = path(task)
    if not file.is_file():
        return []
    loaded = _files.read(file)
    if isinstance(loaded, Mapping) and "expectations" in loaded:  # a whole suite
        loaded = loaded["expectations"]
    if not isinstance(loaded, list):
        raise ConfigError(f"{file}: found {type(loaded).__name__}; expected a list of expectations")
    return [_rule(entry, f"{file}[{number}]", columns, own) for number, entry in enumerate(loaded)]


def _rule(entry: object, where: str, columns: Sequence[str], own: Sequence[str]) -> Rule:
    if not isinstance(entry, Mapping) or "type" not in entry:
        raise ConfigError(f"{where}: expected a mapping with type and kwargs")
    for key in entry:
        if key not in KEYS + IGNORED:
            raise ConfigError(f"{where}.{key}: unknown key{nearest(str(key), KEYS)}; allowed: {', '.join(KEYS)}")
    name = _name(entry["type"], f"{where}.type")
    arguments = entry.get("kwargs") or {}
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{where}.kwargs: expected a mapping, such as {{column: label}}")
    _check_columns(arguments, f"{where}.kwargs", columns)
    severity = entry.get("severity", "warning")
    if severity not in get_args(Severity):
        raise ConfigError(f"{where}.severity: found {severity!r}; expected one of {', '.join(get_args(Severity))}")
    reason = _reason(entry.get("reason", ""), name, f"{where}.reason", own)
    advice = str(entry.get("advice") or "correct the source, or that entry")
    return Rule(f"Expect{name}", dict(arguments), severity, reason, advice, reason or where, where)


def _name(given: object, where: str) -> str:
    """`expect_column_values_to_be_null` or `ExpectColumnValuesToBeNull` as `ColumnValuesToBeNull`."""
    text = str(given)
    name = "".join(part[:1].upper() + part[1:] for part in text.split("_")).removeprefix("Expect")
    name = {"ColumnKlDivergenceToBeLessThan": "ColumnKLDivergenceToBeLessThan"}.get(name, name)
    known = sorted(TABLE | ROWS)
    if name not in known:
        full = [f"Expect{word}" for word in known]
        close = nearest(text, [snake(word) for word in full] if "_" in text else full)
        raise ConfigError(f"{where}: found {text!r}; expected an expectation of Great Expectations{close}")
    return name


def _check_columns(arguments: Mapping[str, Any], where: str, columns: Sequence[str]) -> None:
    for key in ("column", "column_A", "column_B", "column_list"):
        given = arguments.get(key, [])
        for column in given if isinstance(given, list) else [given]:
            if column not in columns:
                close = nearest(str(column), columns)
                raise ConfigError(f"{where}.{key}: found {column!r}{close}; expected one of {', '.join(columns)}")


def _reason(given: object, name: str, where: str, own: Sequence[str]) -> str:
    reason = str(given)
    if not reason:
        return ""
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", reason) or reason in own:
        raise ConfigError(f"{where}: found {reason!r}; expected a word of your own of a-z, 0-9 and _")
    if name in TABLE:
        raise ConfigError(f"{where}: {name} judges a whole column; expected no reason, or an expectation on values")
    return reason
