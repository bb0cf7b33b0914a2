"""Judges every row of a task's manifest: kept, or in quarantine with its reason. Nothing is lost between the two."""

import dataclasses
import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, stage
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.examples import EMPTY_CLASS
from pipeline.expectations import Outcome, Rule, Session, session
from pipeline.near import pairs as near_pairs

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
SPLIT_RANK = {"test": 0, "validation": 1}
INTERNAL = ["refused", "undecodable", "too_large", "detail", "duplicate_of", "conflicting"]
QUARANTINE = ["id", "path", "label", "reason", "detail"]


@dataclass(frozen=True)
class Verdict:
    """The accepted rows, the others with their reason, and pairs of near duplicates as positions in `accepted`."""

    accepted: "pd.DataFrame"
    quarantine: "pd.DataFrame"
    neighbours: np.ndarray  # int64 [M, 2]
    classes: dict[str, int]  # every label of the manifest and its accepted rows
    outcomes: list[Outcome]


def validate(
    manifest: "pd.DataFrame", module: ModuleType, config: Any, files: Path, scratch: Path, checks: Session
) -> Verdict:
    """Measures and checks the manifest's rows, and then what is left of them as a whole.

    `module` is that of pipeline/validation/ for the kind; `scratch` is an empty folder for its use.
    """
    table = _compared(module.measure(manifest, files, config, scratch), config)
    outcomes = checks.check("rows", table, [*_first_rules(config), *module.rules(config), *_last_rules()])
    reasons = _reasons(table, outcomes)
    accepted = table[reasons.isna()]
    pairs = module.neighbours(accepted, config, scratch)
    accepted = accepted.assign(neighbours=np.bincount(pairs.ravel(), minlength=len(accepted)))
    rejected = table[reasons.notna()].assign(reason=reasons.dropna())
    labels = config.classes or _named(table)
    counts = {label: int((accepted["label"] == label).sum()) for label in sorted(set(labels))}
    outcomes += checks.check("kept", accepted, _kept_rules())
    outcomes += checks.check("classes", _class_table(counts), _class_rules(config))
    assert len(accepted) + len(rejected) == len(manifest), "a row is neither kept nor in quarantine"
    return Verdict(accepted, rejected[QUARANTINE], pairs, counts, outcomes)


def _compared(table: "pd.DataFrame", config: Any) -> "pd.DataFrame":
    """With `duplicate_of`, the id of the kept row of equal content, and `conflicting`: equal content, other label.

    Of duplicates the first is kept, one in the user's own test split before others, so that no test row is lost
    to a training row.
    """
    import pandas as pd

    sound = table["refused"].isna() & table["label"].notna()
    if config.classes:
        sound &= table["label"].isin(config.classes)
    ranked = table[sound].assign(rank=table["split"].map(SPLIT_RANK).fillna(2)).sort_values("rank", kind="stable")
    same = ranked.groupby("content", sort=False)
    first = same["id"].transform("first").reindex(table.index)
    conflicting = same["label"].transform("nunique").reindex(table.index, fill_value=1) > 1
    repeated = first.notna() & (first != table["id"]) & ~conflicting
    conflict_note = pd.Series("the same content has another label elsewhere", index=table.index)
    detail = table["detail"].fillna(("same as " + first).where(repeated)).fillna(conflict_note.where(conflicting))
    return table.assign(duplicate_of=first.where(repeated), conflicting=conflicting, detail=detail)


def _named(table: "pd.DataFrame") -> "pd.Series":
    """The labels that there are examples of, or a place for; a label with bytes that its encoding lacks is none."""
    usable = table["refused"].isna() | (table["refused"] == EMPTY_CLASS)
    return table.loc[usable & ~table["label"].str.contains("\ufffd", na=True, regex=False), "label"]


def _first_rules(config: Any) -> list[Rule]:
    rules = [
        Rule(
            "ExpectColumnValuesToBeUnique",
            {"column": "id"},
            "critical",
            advice="one row an id; this is a fault of fetch",
        ),
        Rule("ExpectColumnValuesToBeNull", {"column": "refused"}, reason="refused"),
        Rule("ExpectColumnValuesToNotBeNull", {"column": "label"}, reason="no_label"),
    ]
    if config.classes:
        known = {"column": "label", "value_set": list(config.classes)}
        rules.append(Rule("ExpectColumnValuesToBeInSet", known, reason="unknown_label"))
    return rules


def _last_rules() -> list[Rule]:
    return [
        Rule(
            "ExpectColumnValuesToBeInSet", {"column": "conflicting", "value_set": [False]}, reason="conflicting_labels"
        ),
        Rule("ExpectColumnValuesToBeNull", {"column": "duplicate_of"}, reason="duplicate"),
    ]


def _kept_rules() -> list[Rule]:
    some = "at least one example that can be used; see the reasons above, and repair or add examples"
    two = "at least 2 classes; add examples of another class"
    return [
        Rule("ExpectTableRowCountToBeBetween", {"min_value": 1}, "critical", advice=some),
        Rule("ExpectColumnUniqueValueCountToBeBetween", {"column": "label", "min_value": 2}, "critical", advice=two),
        Rule("ExpectColumnValuesToBeInSet", {"column": "neighbours", "value_set": [0]}, "info"),
    ]


def _class_rules(config: Any) -> list[Rule]:
    least = f"at least {config.min_examples} of each class (validate.min_examples); add some, or take the class out"
    limits = {"column": "examples", "min_value": config.min_examples}
    return [Rule("ExpectColumnValuesToBeBetween", limits, "critical", advice=least)]


def _class_table(counts: dict[str, int]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({"id": list(counts), "examples": pd.array(list(counts.values()), dtype="Int64")})


def _reasons(table: "pd.DataFrame", outcomes: Sequence[Outcome]) -> "pd.Series":
    """Each row's reason for quarantine, that of the first rule it breaks, or null."""
    import pandas as pd

    found: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.rule.reason:
            for row in outcome.ids:
                found.setdefault(row, outcome.rule.reason)
    reasons = table["id"].map(pd.Series(found, dtype="str"))
    return reasons.mask(reasons == "refused", "refused:" + table["refused"])


def failure(verdict: Verdict, place: str) -> str | None:
    """The message of the first critical rule that is broken, or None."""
    for outcome in verdict.outcomes:
        if outcome.rule.severity == "critical" and not outcome.success:
            return f"{place}: {_found(outcome, verdict)}; expected {outcome.rule.advice}"
    return None


def _found(outcome: Outcome, verdict: Verdict) -> str:
    counts = Counter(verdict.quarantine["reason"])
    why = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common(5)) or "none"
    read = len(verdict.accepted) + len(verdict.quarantine)
    if outcome.column == "examples":
        short = ", ".join(f"{label} {verdict.classes[label]}" for label in outcome.ids[:5])
        return f"found too few usable examples of {short} (in quarantine: {why})"
    if outcome.rule.reason:
        rows = verdict.quarantine[verdict.quarantine["id"].isin(outcome.ids)]
        first = f"{rows['id'].iloc[0]}: {rows['detail'].iloc[0]}" if len(rows) else outcome.ids[0]
        return f"found {len(outcome.ids):,} of {read:,} rows {outcome.rule.reason} (first: {first})"
    if outcome.column == "label":
        return f"found one usable class, {verdict.accepted['label'].iloc[0]} (in quarantine: {why})"
    return f"found {len(verdict.accepted):,} usable of {read:,} rows (in quarantine: {why})"


def summary(verdict: Verdict, config: Any) -> dict[str, Any]:
    """What the report and the later stages need to know; read = kept + the sum of quarantined."""
    kept = len(verdict.accepted)
    expectations = [
        {
            "expectation": outcome.rule.expectation,
            "column": outcome.column,
            "arguments": {key: value for key, value in outcome.rule.arguments.items() if key != "column"},
            "severity": outcome.rule.severity,
            "reason": outcome.rule.reason or None,
            "success": outcome.success,
            "unexpected": outcome.unexpected,
        }
        for outcome in verdict.outcomes
    ]
    return {
        "read": kept + len(verdict.quarantine),
        "kept": kept,
        "quarantined": dict(Counter(verdict.quarantine["reason"])),
        "classes": sorted(verdict.classes),
        "class_counts": verdict.classes,
        "near_pairs": len(verdict.neighbours),
        "largest_group": near_pairs.largest_group(kept, verdict.neighbours),
        "expectations": expectations,
        "settings": dataclasses.asdict(config),
    }


def write(verdict: Verdict, facts: dict[str, Any], out: Path) -> None:
    import pandas as pd

    ids = verdict.accepted["id"].to_numpy()
    pairs = {"a": ids[verdict.neighbours[:, 0]], "b": ids[verdict.neighbours[:, 1]]}
    accepted = verdict.accepted.drop(columns=["cleaned", *INTERNAL], errors="ignore")
    parts.write_frame(accepted, out / "accepted")
    verdict.quarantine.to_parquet(out / "quarantine.parquet", index=False)
    pd.DataFrame(pairs, dtype="str").to_parquet(out / "neighbours.parquet", index=False)
    artifacts.write_json(out / "summary.json", facts)


def main(task: Task) -> None:

    module, config = task.of_kind("validate", "validation")
    raw = artifacts.folder("raw", task.name)
    manifest = parts.read(raw / "manifest")
    with tempfile.TemporaryDirectory(prefix="danlu-validate-") as scratch, session() as checks:
        verdict = validate(manifest, module, config, raw / "files", Path(scratch), checks)
        # Also where the task stops below: the pages show why.
        with artifacts.fresh(artifacts.folder("docs", task.name)) as docs:
            checks.write_docs(docs)
    message = failure(verdict, str(raw))
    if message:
        raise DataError(message)
    facts = summary(verdict, config)
    with artifacts.fresh(artifacts.folder("validated", task.name)) as out:
        write(verdict, facts, out)
    why = ", ".join(f"{reason} {count:,}" for reason, count in facts["quarantined"].items()) or "none"
    kept = f"{facts['kept']:,} of {facts['read']:,} kept"
    near = f"{facts['near_pairs']:,} near-duplicate pairs, largest group {facts['largest_group']}"
    log.info("validate %s: %s; in quarantine: %s; %s", task.name, kept, why, near)


if __name__ == "__main__":
    stage.run("validate", main)
