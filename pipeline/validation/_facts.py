"""What validation found, in figures: for the later stages, for `dvc metrics diff`, and in words where it stops."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.expectations import Outcome, Rule
from pipeline.near import pairs
from pipeline.targets import Target, record
from pipeline.validation._outliers import Measure
from pipeline.validation._rules import BETWEEN

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The accepted rows, the others with their reason, and pairs of near duplicates as positions in `accepted`."""

    accepted: "pd.DataFrame"
    quarantine: "pd.DataFrame"
    neighbours: np.ndarray  # int64 [M, 2]
    classes: dict[str, int]  # every label of the manifest and its accepted rows
    outcomes: list[Outcome]
    fences: dict[str, dict[str, float]]  # of the measures, beyond which a value is an outlier
    labels: dict[str, Any]  # what was changed and dropped
    target: Target  # of a value without its mean and deviation, which those of train are

    @property
    def read(self) -> int:
        return len(self.accepted) + len(self.quarantine)


def summary(verdict: Verdict, config: Any) -> dict[str, Any]:
    """What the report and the later stages need to know; read = kept + the sum of quarantined."""
    kept = len(verdict.accepted)
    return {
        "read": verdict.read,
        "kept": kept,
        "quarantined": dict(Counter(verdict.quarantine["reason"])),
        **record(verdict.target),
        "class_counts": verdict.classes,
        "labels": verdict.labels,
        "near_pairs": len(verdict.neighbours),
        "largest_group": pairs.largest_group(kept, verdict.neighbours),
        "outliers": _outliers(verdict),
        "fences": verdict.fences,
        "expectations": [_entry(outcome) for outcome in verdict.outcomes],
        "warnings": warnings(verdict),
        "settings": dataclasses.asdict(config),
    }


def _entry(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.rule.name,
        "expectation": outcome.rule.expectation,
        "column": outcome.column,
        "arguments": {key: value for key, value in outcome.rule.arguments.items() if key != "column"},
        "severity": outcome.rule.severity,
        "reason": outcome.rule.reason or None,
        "success": outcome.success,
        "unexpected": outcome.unexpected,
    }


def warnings(verdict: Verdict) -> list[dict[str, str]]:
    """What is found and expected by each broken rule of severity warning, but those whose rows are in quarantine."""
    broken = [o for o in verdict.outcomes if not o.success and o.rule.severity == "warning" and not o.rule.reason]
    return [{"found": _found(outcome, verdict), "expected": _expected(outcome.rule)} for outcome in broken]


def details(
    table: "pd.DataFrame", broken: Mapping[str, Rule], fences: Mapping[str, Mapping[str, float]]
) -> "pd.Series[str]":
    """For rows that break a rule on a value: the value, and what it should be; for the others null."""
    import pandas as pd

    judged = {id(rule): _judged(rule, fences) for rule in {id(rule): rule for rule in broken.values()}.values()}
    wanted = {row: judged[id(rule)] for row, rule in broken.items() if judged[id(rule)][0]}
    names = dict.fromkeys(["id", *(name for columns, _ in wanted.values() for name in columns)])
    told: dict[str, str] = {}
    for row in table.loc[table["id"].isin(wanted), list(names)].to_dict("records"):
        columns, expected = wanted[row["id"]]
        told[row["id"]] = f"{', '.join(f'{name} {_short(row[name])}' for name in columns)}; {expected}"
    return pd.Series([told.get(name) for name in table["id"]], table.index, dtype="str")


def _judged(rule: Rule, fences: Mapping[str, Mapping[str, float]]) -> tuple[list[str], str]:
    """The columns whose values broke a rule, and what they should be; no column where the reason says it all."""
    if rule.origin:
        named = [rule.arguments.get(key, []) for key in ("column", "column_A", "column_B", "column_list")]
        columns = [name for names in named for name in (names if isinstance(names, list) else [names])]
        return columns, f"expected {rule.words}, as {rule.origin} says"
    if rule.name.startswith("outlier_"):
        measure = rule.name.removeprefix("outlier_")
        usual = fences[measure]
        return [measure], f"usual {usual['low']:.6g} to {usual['high']:.6g}"
    if rule.expectation != BETWEEN:
        return [], ""
    bounds = [f"{key} {rule.arguments[key]}" for key in ("min_value", "max_value") if key in rule.arguments]
    return [rule.arguments["column"]], f"expected {', '.join(bounds)}"


def _short(value: Any) -> str:
    """A cell's value, of a long one the beginning."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _outliers(verdict: Verdict) -> dict[str, int]:
    """Rows that are kept and flagged, by measure."""
    return dict(
        sorted(Counter(name for text in verdict.accepted["outliers"] if text for name in text.split(",")).items())
    )


def metrics(verdict: Verdict, facts: Mapping[str, Any], measures: Sequence[Measure]) -> dict[str, Any]:
    """data/metrics/<task>.data.json: figures alone, so that `dvc metrics diff` shows what a new version changed."""
    accepted = verdict.accepted
    medians = {m.column: float(accepted[m.column].astype("float64").median()) for m in measures if len(accepted)}
    sizes = [len(members) for members in pairs.clusters(len(accepted), verdict.neighbours)]
    broken = [outcome for outcome in verdict.outcomes if not outcome.success]
    return {
        "rows": {"read": facts["read"], "kept": facts["kept"], "quarantined": facts["read"] - facts["kept"]},
        "reasons": facts["quarantined"],
        "classes": verdict.classes,
        "near": {
            "pairs": facts["near_pairs"],
            "groups": len(sizes),
            "rows": sum(sizes),
            "largest": facts["largest_group"],
        },
        "outliers": facts["outliers"],
        "median": {name: round(value, 4) for name, value in medians.items() if np.isfinite(value)},
        "broken": {level: sum(o.rule.severity == level for o in broken) for level in ("critical", "warning", "info")},
    }


def failure(verdict: Verdict, drifted: Sequence[Outcome], place: str, listed: Path) -> str | None:
    """The message of the first critical rule that is broken, or None; `listed` is where the rejected rows are."""
    where = f"; every rejected row: {listed}" if len(verdict.quarantine) else ""
    for outcome in [*verdict.outcomes, *drifted]:
        if outcome.rule.severity == "critical" and not outcome.success:
            return f"{place}: found {_found(outcome, verdict)}; expected {_expected(outcome.rule)}{where}"
    return None


def _expected(rule: Rule) -> str:
    """And the way out."""
    if rule.origin:
        return f"{rule.words}, as {rule.origin} says; {rule.advice}"
    share = f"{1 - rule.arguments.get('mostly', 1):.0%}"
    return rule.advice or f"at most {share} (validate.tolerance.{rule.name}, validate.severity.{rule.name})"


def _found(outcome: Outcome, verdict: Verdict) -> str:
    why = _reasons(verdict)
    if outcome.rule.name == "examples":
        short = ", ".join(f"{label} {verdict.classes[label]}" for label in outcome.ids[:5])
        return f"too few usable examples of {short} (in quarantine: {why})"
    if outcome.rule.name == "classes":
        what = {"classes": "class", "labels": "set of labels", "value": "value"}[verdict.target.kind]
        return f"one usable {what}, {verdict.accepted['label'].iloc[0]} (in quarantine: {why})"
    if outcome.rule.name == "rows":
        return f"{len(verdict.accepted):,} usable of {verdict.read:,} rows (in quarantine: {why})"
    if outcome.rule.name == "drift":
        return f"a version unlike the one before in {', '.join(outcome.ids)}"
    if not outcome.ids:
        seen = outcome.observed
        return f"{seen:.6g}" if isinstance(seen, float) else f"{seen}"
    of_kept = outcome.rule.name == "near" or (outcome.rule.origin and not outcome.rule.reason)
    judged = len(verdict.accepted) if of_kept else verdict.read
    name = "" if outcome.rule.name == outcome.rule.origin else f" {outcome.rule.name}"
    return f"{len(outcome.ids):,} of {judged:,} rows{name} (first: {_first(outcome, verdict)})"


def _reasons(verdict: Verdict) -> str:
    """The five that most rows have, and how many more there are."""
    counts = Counter(verdict.quarantine["reason"])
    named = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common(5)) or "none"
    more = len(counts) - 5
    return f"{named}, … and {more:,} more reason{'s' if more > 1 else ''}" if more > 0 else named


def _first(outcome: Outcome, verdict: Verdict) -> str:
    """The first of the rows, with its detail where the rule is why it is in quarantine."""
    if not outcome.rule.reason:
        return outcome.ids[0]
    rows = verdict.quarantine[verdict.quarantine["id"].isin(outcome.ids)].head(1)
    details = [f"{name}: {detail}" for name, detail in zip(rows["id"], rows["detail"], strict=True) if detail == detail]
    return details[0] if details else outcome.ids[0]
