"""Judges every row of a task's manifest: kept, or in quarantine with its reason. Nothing is lost between the two."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import arrivals, artifacts, parts, stage, strata
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.examples import EMPTY_CLASS
from pipeline.expectations import Outcome, Rule, Session, session
from pipeline.targets import parted
from pipeline.validation import _asked, _duplicates, _facts, _labels, _outliers, _profile, _rules, _settings
from pipeline.validation._asked import Asked
from pipeline.validation._facts import Verdict

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
INTERNAL = ["refused", "undecodable", "too_large", "detail", "duplicate_of", "conflicting", "dropped", "same"]
LISTED = "quarantine.csv"  # beside the Data Docs
QUARANTINE = ["id", "path", "label", "reason", "detail", "same"]


def validate(
    manifest: "pd.DataFrame",
    module: ModuleType,
    config: Any,
    files: Path,
    scratch: Path,
    checks: Session,
    own: Sequence[Rule] = (),
    known: np.ndarray = arrivals.NONE,
    asked: Asked = _asked.CLASSES,
) -> Verdict:
    """Measures and checks the manifest's rows, and then what is left of them as a whole.

    `module` is that of pipeline/validation/ for the kind; `scratch` is an empty folder for its use; `own` are the
    user's rules; `known` are the keys, uint64, of what was accepted before.
    """
    relabelled = _asked.columns(_labels.apply(manifest, config.labels, asked.kind), asked, config)
    table, fences = _judged(module.measure(relabelled, files, config, scratch), module, config, known, asked)
    measures = (*module.MEASURES, *asked.measures)
    rules = [*_rules.first(config, asked), *module.rules(config), *_rules.last(), *_outliers.rules(measures, config)]
    rules += [rule for rule in own if rule.reason]
    outcomes = checks.check("rows", table, _rules.adjusted(rules, config.severity, config.tolerance))
    broken = _broken(outcomes)
    reasons = _reasons(table, broken)
    table = table.assign(detail=table["detail"].fillna(_facts.details(table, broken, fences)))
    accepted = table[reasons.isna()]
    pairs = module.neighbours(accepted, config, scratch)
    accepted = accepted.assign(neighbours=np.bincount(pairs.ravel(), minlength=len(accepted)))
    rejected = table[reasons.notna()].assign(reason=reasons.dropna())
    outcomes += _checked(checks, "kept", accepted, [*_rules.kept(asked), *(r for r in own if not r.reason)], config)
    counts = strata.counted(accepted["label"], asked.kind)
    if asked.kind != "value":
        counts = {label: counts.get(label, 0) for label in sorted({*(config.classes or _named(table, asked))})}
        outcomes += _checked(checks, "classes", _class_table(counts), _rules.classes(config, asked), config)
    assert len(accepted) + len(rejected) == len(manifest), "a row is neither kept nor in quarantine"
    changed = _labels.changes(manifest["label"], config.labels, asked.kind)
    target = asked.target(list(counts))
    return Verdict(accepted, rejected[QUARANTINE], pairs, counts, outcomes, fences, changed, target)


def _checked(checks: Session, name: str, table: "pd.DataFrame", rules: Sequence[Rule], config: Any) -> list[Outcome]:
    return checks.check(name, table, _rules.adjusted(rules, config.severity, config.tolerance))


def _judged(
    table: "pd.DataFrame", module: ModuleType, config: Any, known: np.ndarray, asked: Asked
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """With the columns that need other rows to be known: of duplicates and of outliers; and the outliers' fences."""
    usable = table["refused"].isna() & _asked.usable(table, asked, config) & ~table["dropped"]
    compared = _duplicates.compared(table.assign(same=table[module.SAME]), usable, "same", known)
    alone = usable & compared["duplicate_of"].isna() & ~compared["conflicting"]
    return _outliers.add(compared, alone, (*module.MEASURES, *asked.measures), config)


def _named(table: "pd.DataFrame", asked: Asked) -> set[str]:
    """The labels that there are examples of, or a place for; a label with bytes that its encoding lacks is none."""
    usable = (table["refused"].isna() | (table["refused"] == EMPTY_CLASS)) & ~table["dropped"]
    texts = table.loc[usable & ~table["label"].str.contains("\ufffd", na=True, regex=False), "label"]
    return {name for text in texts for name in parted(text)} | {*asked.labels} if asked.kind == "labels" else {*texts}


def _class_table(counts: dict[str, int]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({"id": list(counts), "examples": pd.array(list(counts.values()), dtype="Int64")})


def _broken(outcomes: Sequence[Outcome]) -> dict[str, Rule]:
    """The first rule with a reason that a row breaks, by its id."""
    found: dict[str, Rule] = {}
    for outcome in outcomes:
        if outcome.rule.reason:
            for row in outcome.ids:
                found.setdefault(row, outcome.rule)
    return found


def _reasons(table: "pd.DataFrame", broken: Mapping[str, Rule]) -> "pd.Series":
    """Each row's reason for quarantine, or null."""
    import pandas as pd

    reasons = table["id"].map(pd.Series({row: rule.reason for row, rule in broken.items()}, dtype="str"))
    return reasons.mask(reasons == "refused", "refused:" + table["refused"])


def write(verdict: Verdict, facts: dict[str, Any], out: Path) -> None:
    import pandas as pd

    ids = verdict.accepted["id"].to_numpy()
    pairs = {"a": ids[verdict.neighbours[:, 0]], "b": ids[verdict.neighbours[:, 1]]}
    flags = [name for name in verdict.accepted.columns if name.startswith("outlier_")] + ["unknown"]
    accepted = verdict.accepted.drop(columns=["cleaned", *flags, *INTERNAL], errors="ignore")
    parts.write_frame(accepted, out / "accepted")
    verdict.quarantine.to_parquet(out / "quarantine.parquet", index=False)
    pd.DataFrame(pairs, dtype="str").to_parquet(out / "neighbours.parquet", index=False)
    artifacts.write_json(out / "summary.json", facts)


def _drifted(checks: Session, drift: dict[str, float], config: Any) -> list[Outcome]:
    """Whether the version is like the one before it; nothing where there is none."""
    import pandas as pd

    table = pd.DataFrame({"id": list(drift), "index": list(drift.values())})
    return _checked(checks, "drift", table, _rules.drift(config), config) if drift else []


def main(task: Task) -> None:
    module, config, own = _settings.read(task)
    raw, order = artifacts.folder("raw", task.name), artifacts.folder("order", task.name)
    profiles, known = _profile.read(task.name), arrivals.read(order)[0]
    manifest, asked = parts.read(raw / "manifest"), _asked.read(raw)
    _asked.check(config, asked.kind, f"{task.where}.validate")
    measures = (*module.MEASURES, *asked.measures)
    with tempfile.TemporaryDirectory(prefix="danlu-validate-") as scratch, session() as checks:
        verdict = validate(manifest, module, config, raw / "files", Path(scratch), checks, own, known, asked)
        labels = _labels.mark(config.labels)
        profile = _profile.of(verdict.accepted, measures, _profile.fingerprint(manifest), labels, asked.kind)
        versions = _profile.following(profiles, profile)
        drift = _profile.drift(verdict.accepted, versions["previous"], labels, asked.kind)
        drifted = _drifted(checks, drift, config)
        # Also where the task stops below: the pages and the list show why.
        with artifacts.fresh(artifacts.folder("docs", task.name)) as docs:
            checks.write_docs(docs)
            verdict.quarantine.drop(columns="same").to_csv(docs / LISTED, index=False)
    message = _facts.failure(verdict, drifted, str(raw), artifacts.folder("docs", task.name) / LISTED)
    if message:
        raise DataError(message)
    facts = _facts.summary(verdict, config)
    with artifacts.fresh(artifacts.folder("validated", task.name)) as out:
        write(verdict, facts, out)
    figures = _facts.metrics(verdict, facts, measures)
    artifacts.write_json(artifacts.DATA / "metrics" / f"{task.name}.data.json", {**figures, "drift": drift})
    artifacts.write_json(_profile.path(task.name), {**versions, "drift": drift})
    if _profile.relabelled(versions["previous"], labels):
        log.info("validate %s: the labels' settings have changed: no drift of the classes is computed", task.name)
    arrived = arrivals.extend(order, arrivals.keys(verdict.accepted["content"]))
    _tell(task.name, facts, arrived, [name for outcome in drifted for name in outcome.ids])


def _tell(task: str, facts: dict[str, Any], arrived: int, drifted: Sequence[str]) -> None:
    for word in facts["labels"]["unused"]:
        log.warning("validate %s: no row has the label %s, which validate.labels names", task, word)
    if drifted:
        log.warning("validate %s: unlike the version before in %s; see data/profiles", task, ", ".join(drifted))
    for broken in facts["warnings"]:
        log.warning("validate %s: found %s; expected %s", task, broken["found"], broken["expected"])
    why = ", ".join(f"{reason} {count:,}" for reason, count in facts["quarantined"].items()) or "none"
    kept = f"{facts['kept']:,} of {facts['read']:,} kept, {arrived:,} of them new"
    near = f"{facts['near_pairs']:,} near-duplicate pairs, largest group {facts['largest_group']}"
    flagged = ", ".join(f"{name} {count:,}" for name, count in facts["outliers"].items()) or "none"
    log.info("validate %s: %s; in quarantine: %s; %s; outliers: %s", task, kept, why, near, flagged)


if __name__ == "__main__":
    stage.run("validate", main)
