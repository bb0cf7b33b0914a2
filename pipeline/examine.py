"""Stage `examine`: the data as a whole, on a page to look at: leaks, copies, conflicts, outliers, classes, drift.

data/examined/<task>/index.html needs no network; beside it lie contact sheets and, as CSV, every row that they are
taken from.
"""

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, config, leakage, parts, prepared, stage, strata, targets
from pipeline.config import Task
from pipeline.examination import _charts, _groups
from pipeline.examination._groups import Group
from pipeline.targets import Kind

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
TEMPLATE = Path(__file__).with_name("examine.html.j2")
REASONS = ("duplicate", "conflicting_labels")
"""Rows with these reasons would have been in a split that nobody looked at."""
CHARTED = 200_000  # rows
TOLD: dict[Kind, str] = {"classes": "", "labels": ", which tells whole sets of labels", "value": ", which tells fifths"}
"""What the simple classifier tells, where examples have no class."""


def leaks(
    table: "pd.DataFrame", neighbours: "pd.DataFrame", raw: Path, module: ModuleType, settings: Any
) -> dict[str, Any]:
    """What `leakage.leakage` finds in a table with the columns id, label, same and split, "" for rows out of use."""
    import pandas as pd

    numbers, contents = pd.factorize(table["same"])
    chosen = leakage.sampled(contents.tolist(), _near(table["id"], numbers, neighbours), module.MOST)
    table = table[chosen[numbers]].reset_index(drop=True)
    numbers = pd.factorize(table["same"])[0].astype(np.int64)
    first = table["id"][~table["same"].duplicated()].tolist()
    x = module.features(manifest(raw, first, ["path", "sha256", *module.COLUMNS]), raw / "files", settings)
    near = _near(table["id"], numbers, neighbours)
    rows = leakage.Rows(numbers, table["label"].to_numpy(object), table["split"].to_numpy(object), near)
    return leakage.leakage(rows, x, module)


def _near(ids: "pd.Series", numbers: np.ndarray, neighbours: "pd.DataFrame") -> np.ndarray:
    """Pairs of near contents among these rows, by the number of each row's content: int64 [M, 2]."""
    import pandas as pd

    content = pd.Series(numbers, index=ids)
    pairs = neighbours[neighbours["a"].isin(content.index) & neighbours["b"].isin(content.index)]
    return np.stack([content[pairs["a"]].to_numpy(), content[pairs["b"]].to_numpy()], axis=1).astype(np.int64)


def used(accepted: "pd.DataFrame", quarantine: "pd.DataFrame", folder: Path, same: str) -> "pd.DataFrame":
    """id, label, same and split of every row that could have been used; `split` is empty where it is not.

    same: the column of the accepted rows in which equal contents are equal.
    """
    import pandas as pd

    kept = accepted[["id", "label", same]].rename(columns={same: "same"})
    others = quarantine.loc[quarantine["reason"].isin(REASONS), ["id", "label", "same"]]
    sides = [prepared.table(folder, name, ["id"]).assign(split=name) for name in artifacts.SPLITS]
    table = pd.concat([kept, others], ignore_index=True).merge(pd.concat(sides, ignore_index=True), on="id", how="left")
    return table.assign(split=table["split"].fillna(""))


def coarse(table: "pd.DataFrame", kind: Kind) -> "pd.DataFrame":
    """With labels that examples can be grouped by: of values the fifth that they are in."""
    return table if kind == "classes" else table.assign(label=strata.coarse(table["label"].tolist(), kind))


def manifest(raw: Path, ids: Sequence[str], columns: Sequence[str]) -> "pd.DataFrame":
    """These rows of the manifest, in this order."""
    import pandas as pd

    wanted = set(ids)  # pandas' own isin would go through them for every part
    each = parts.each(raw / "manifest", ["id", *columns])
    pieces = [piece[[name in wanted for name in piece["id"]]] for piece in each]
    return pd.concat(pieces).set_index("id").loc[list(ids)].reset_index()


def write_groups(groups: Iterable[Group], path: Path) -> list[Group]:
    """All rows as CSV, and returns the groups that go on the page."""
    shown = []
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["group", "id", "label", "note"])
        for number, group in enumerate(groups, 1):
            table.writerows([number, row.id, row.label, row.note] for row in group.rows)
            if number <= _groups.SHOWN:
                shown.append(group)
    return shown


def sections(task: Task, out: Path, accepted: "pd.DataFrame", quarantine: "pd.DataFrame") -> list[dict[str, Any]]:
    """Each kind of group that is to be looked at, as the page shows it."""
    import pandas as pd

    validation, settings = task.of_kind("validate", "validation")
    module = config.plugin("examination", task.kind, f"{task.where}.kind")
    raw, validated = artifacts.folder("raw", task.name), artifacts.folder("validated", task.name)
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    kind = targets.recorded(artifacts.read_json(validated / "summary.json")).kind
    grouped = coarse(accepted, kind)
    order = grouped["label"].value_counts().index[: _groups.SHOWN].tolist()
    kinds = {
        "classes": ("Some of each class", _groups.classes(grouped, order)),
        "near": ("Near duplicates: never on both sides of the split", _groups.near(accepted, neighbours)),
        "conflicts": ("Equal contents under different labels: in quarantine", _groups.conflicts(quarantine)),
        "outliers": ("Outliers", _groups.outliers(accepted, quarantine, validation.MEASURES)),
    }
    found = {name: (title, write_groups(groups, out / f"{name}.csv")) for name, (title, groups) in kinds.items()}
    ids = {row.id for _, groups in found.values() for group in groups for row in group.rows[: _groups.MEMBERS]}
    rows = manifest(raw, sorted(ids), ["path", *module.COLUMNS]).set_index("id")
    return [
        {"title": title, "csv": f"{name}.csv" if name != "classes" else "", "count": len(groups)}
        | (module.show(groups, rows, raw / "files", settings, out / name) if groups else {})
        for name, (title, groups) in found.items()
    ]


def page(facts: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(facts)


def main(task: Task) -> None:
    import pandas as pd

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells when it lists the machine's fonts
    validation, settings = task.of_kind("validate", "validation")
    module = config.plugin("examination", task.kind, f"{task.where}.kind")
    validated = artifacts.folder("validated", task.name)
    accepted, summary = parts.read(validated / "accepted"), artifacts.read_json(validated / "summary.json")
    quarantine = pd.read_parquet(validated / "quarantine.parquet")
    kind = targets.recorded(summary).kind
    table = coarse(used(accepted, quarantine, artifacts.folder("prepared", task.name), validation.SAME), kind)
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    found = leaks(table, neighbours, artifacts.folder("raw", task.name), module, settings)
    found["model"] += TOLD[kind]
    grouped = coarse(accepted, kind)
    charted = grouped.iloc[:: max(1, -(-len(accepted) // CHARTED))]
    varied = [measure for measure in validation.MEASURES if charted[measure.column].nunique() > 1]
    same = [measure.column for measure in validation.MEASURES if measure not in varied]
    with artifacts.fresh(artifacts.folder("examined", task.name)) as out:
        facts = {
            "task": task.name,
            "summary": summary,
            "leakage": found,
            "words": leakage.words(found),
            "drift": artifacts.read_json(artifacts.DATA / "profiles" / f"{task.name}.json")["drift"],
            "max_drift": settings.max_drift,
            "balance": _charts.balance(summary["class_counts"]),
            "charts": [_charts.histogram(charted, m, summary["fences"].get(m.column)) for m in varied],
            "constant": {name: str(accepted[name].iloc[0]) for name in same},
            "vocabulary": module.vocabulary(grouped),
            "sections": sections(task, out, accepted, quarantine),
        }
        (out / "index.html").write_text(page(facts), "utf-8")
    artifacts.write_json(artifacts.DATA / "metrics" / f"{task.name}.leakage.json", found)
    log.info("examine %s: %s", task.name, leakage.words(found))


if __name__ == "__main__":
    stage.run("examine", main)
