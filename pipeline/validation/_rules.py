"""The rules that stand for every kind, and what the settings may change of any rule: its severity and its tolerance."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.expectations import Rule, Severity
from pipeline.validation import _asked
from pipeline.validation._asked import Asked
from pipeline.wording import nearest

NULL, NOT_NULL, IN = "ExpectColumnValuesToBeNull", "ExpectColumnValuesToNotBeNull", "ExpectColumnValuesToBeInSet"
BETWEEN = "ExpectColumnValuesToBeBetween"
FIXED = ("unique_id", "rows", "classes", "examples")  # without these the later stages cannot work
SHARED = (
    *("refused", "dropped_label", "no_label", "unknown_label", *_asked.NAMES, "conflicting_labels", "duplicate"),
    *("near", "drift"),
)


def check(severity: Mapping[str, Severity], tolerance: Mapping[str, float], names: Sequence[str]) -> None:
    """Raises: ValueError for a rule that there is not, of those of a kind and the shared ones."""
    known = (*SHARED, *names)
    for key, given in (("severity", severity), ("tolerance", tolerance)):
        for name in given:
            if name not in known:
                raise ValueError(
                    f"{key}.{name}: unknown rule{nearest(name, known)}; expected one of {', '.join(known)}"
                )


def adjusted(rules: Iterable[Rule], severity: Mapping[str, Severity], tolerance: Mapping[str, float]) -> list[Rule]:
    """The rules with the severities and tolerances that the settings give them."""
    return [_adjusted(rule, severity, tolerance) for rule in rules]


def _adjusted(rule: Rule, severity: Mapping[str, Severity], tolerance: Mapping[str, float]) -> Rule:
    name = rule.name or rule.reason
    found = dataclasses.replace(rule, name=name, severity=severity.get(name, rule.severity))
    if name in tolerance:
        found = dataclasses.replace(found, arguments={**rule.arguments, "mostly": 1 - tolerance[name]})
    if found.severity == "critical" and not found.advice:
        share = f"{1 - found.arguments.get('mostly', 1):.0%}"
        way = f"correct the source, or change validate.severity.{name} or validate.tolerance.{name}"
        found = dataclasses.replace(found, advice=f"at most {share} of the rows {name}; {way}")
    return found


def first(config: Any, asked: Asked) -> list[Rule]:
    """What is expected before anything is known of the content, in the order in which a row's reason is looked for."""
    one = "one row an id; this is a fault of fetch"
    rules = [
        Rule("ExpectColumnValuesToBeUnique", {"column": "id"}, "critical", advice=one, name="unique_id"),
        Rule(IN, {"column": "dropped", "value_set": [False]}, "info", reason="dropped_label"),
        Rule(NULL, {"column": "refused"}, reason="refused"),
        Rule(NOT_NULL, {"column": "label"}, reason="no_label"),
    ]
    return rules + _asked.rules(asked, config)


def last() -> list[Rule]:
    """What is expected of rows whose content is sound."""
    return [
        Rule(IN, {"column": "conflicting", "value_set": [False]}, reason="conflicting_labels"),
        Rule(NULL, {"column": "duplicate_of"}, reason="duplicate"),
    ]


def kept(asked: Asked) -> list[Rule]:
    some = "at least one example that can be used; see the reasons above, and repair or add examples"
    two = {
        "classes": "at least 2 classes; add examples of another class",
        "labels": "examples of different labels; add some",
        "value": "at least 2 different values; add examples of others",
    }[asked.kind]
    distinct = {"column": "label", "min_value": 2}
    return [
        Rule("ExpectTableRowCountToBeBetween", {"min_value": 1}, "critical", advice=some, name="rows"),
        Rule("ExpectColumnUniqueValueCountToBeBetween", distinct, "critical", advice=two, name="classes"),
        Rule(IN, {"column": "neighbours", "value_set": [0]}, "info", name="near"),
    ]


def classes(config: Any, asked: Asked) -> list[Rule]:
    one = "label" if asked.kind == "labels" else "class"
    least = f"at least {config.min_examples} of each {one} (validate.min_examples); add some, or take the {one} out"
    limits = {"column": "examples", "min_value": config.min_examples}
    return [Rule(BETWEEN, limits, "critical", advice=least, name="examples")]


def drift(config: Any) -> list[Rule]:
    way = "a version like the one before it (validate.max_drift); see data/profiles, and correct or accept the data"
    limits = {"column": "index", "max_value": config.max_drift}
    return [Rule(BETWEEN, limits, advice=way, name="drift")]
