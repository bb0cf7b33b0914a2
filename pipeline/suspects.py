"""Stage suspects: the labels that are probably wrong, most suspicious first, as a table and a sheet to look at.

They are told by the answers that stage crossvalidate's folds gave to what each held out. N examples, O outputs.
"""

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, config, folds, parts, stage, suspicion, targets
from pipeline.config import Task, setting
from pipeline.targets import Target

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.folding.answering import Fold

log = logging.getLogger(__name__)
TEMPLATE = Path(__file__).with_name("suspects.html.j2")
HEADINGS = (
    *("rank", "id", "label", "suggested", "score", "probability_of_label", "probability_of_suggested", "verdict"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""A cell that begins so is a formula to a spreadsheet, or looks like one that has been made harmless."""


@dataclass(frozen=True)
class Config:
    rows: int = setting(0, low=0, high=1000, unit="suspects on the page; 0: none are looked for")


def gathered(found: Sequence["Fold"]) -> tuple["pd.DataFrame", dict[str, np.ndarray]]:
    """id, label and fold of every tested row, and each candidate's answers to it [N, O]."""
    import pandas as pd

    table = pd.concat([fold.tested.assign(fold=number) for number, fold in enumerate(found, 1)], ignore_index=True)
    answers = {name: np.concatenate([fold.answers[name]["test"] for fold in found]) for name in found[0].answers}
    return table, answers


def answer_table(table: "pd.DataFrame", answers: dict[str, np.ndarray], target: Target) -> "pd.DataFrame":
    """The table with what each candidate answers; of classes the probability of each beside the likeliest."""
    for name, given in answers.items():
        table = table.assign(**targets.columns(name, given, target))
        if target.kind == "classes":
            table[f"{name}_probabilities"] = given.tolist()
    return table


def write_table(path: Path, table: "pd.DataFrame", judged: suspicion.Judged, shown: "pd.Series", column: str) -> None:
    """Every row, most suspicious first, for a spreadsheet; shown: what the labeller needs to see, by id."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # by its mark a spreadsheet knows UTF-8
        lines = csv.writer(file)
        lines.writerow([*HEADINGS, column])
        ids, labels = table["id"].tolist(), table["label"].tolist()
        for rank, row in enumerate(judged.order.tolist(), 1):
            numbers = [_number(values[row]) for values in (judged.score, judged.given, judged.other)]
            words = [ids[row], labels[row], judged.suggested[row], str(shown[ids[row]])]
            name, label, suggested, text = map(_harmless, words)
            lines.writerow([rank, name, label, suggested, *numbers, "", text])


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) and targets.number(cell) is None else cell


def sheet(task: Task, table: "pd.DataFrame", judged: suspicion.Judged, rows: int, out: Path) -> dict[str, Any]:
    """The first rows as the page shows them: pictures in one contact sheet, or the beginnings of texts."""
    from pipeline.examination._groups import MEMBERS, Group, Row

    module = config.plugin("examination", task.kind, f"{task.where}.kind")
    settings = task.of_kind("validate", "validation")[1]
    first = judged.order[:rows]
    ids, labels = table["id"].to_numpy(object), table["label"].to_numpy(object)
    each = [Row(ids[row], labels[row] or "(no label)", _note(judged, row)) for row in first.tolist()]
    groups = [
        Group(f"{start + 1} to {min(start + MEMBERS, len(each))}", len(each[start : start + MEMBERS]), some)
        for start in range(0, len(each), MEMBERS)
        if (some := each[start : start + MEMBERS])
    ]
    wanted = set(ids[first].tolist())
    accepted = artifacts.folder("validated", task.name) / "accepted"
    seen = list(_rows(accepted, wanted, ["path", *module.COLUMNS]))
    import pandas as pd

    found = pd.concat(seen).set_index("id")
    shown: dict[str, Any] = module.show(groups, found, artifacts.folder("raw", task.name) / "files", settings, out)
    return shown


def _note(judged: suspicion.Judged, row: int) -> str:
    suggested = judged.suggested[row] or "(no label)"
    sure = "" if np.isnan(judged.other[row]) else f" {judged.other[row]:.2f}"
    return f"→ {suggested}{sure}; score {judged.score[row]:.3f}"


def _rows(accepted: Path, wanted: set[str], columns: Sequence[str]) -> Iterator["pd.DataFrame"]:
    for part in parts.each(accepted, ["id", *columns]):
        yield part[[name in wanted for name in part["id"]]]


def page(facts: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(facts)


def words(judged: suspicion.Judged) -> str:
    """How many labels are estimated to be wrong."""
    count = len(judged.score)
    if judged.wrong is None:
        return f"{count:,} values ranked; how many are wrong is not estimated"
    return f"about {judged.wrong:,} of {count:,} labels are probably wrong ({100 * judged.wrong / count:.1f} %)"


def run(task: Task, wanted: folds.Config, settings: Config, out: Path) -> str:
    """Fills the folder, and returns what there is to say."""
    from pipeline.folding import answering

    again = f"{task.name}: the folds' answers are not in {artifacts.STATE / 'folds'} (any more) and are made anew"
    found = answering.collected(task, wanted, again)
    target = targets.recorded(artifacts.read_json(artifacts.folder("validated", task.name) / "summary.json"))
    table, answers = gathered(found)
    answer_table(table, answers, target).to_parquet(out / "answers.parquet", index=False)
    judged = suspicion.judge(table["label"].tolist(), np.mean(list(answers.values()), axis=0), target)
    column = "text" if task.kind == "text" else "path"
    shown = parts.read(artifacts.folder("validated", task.name) / "accepted", ["id", column]).set_index("id")[column]
    write_table(out / "suspects.csv", table, judged, shown, column)
    told = words(judged)
    facts = {"task": task.name, "rows": min(settings.rows, len(table)), "folds": wanted.folds, "words": told}
    facts["candidates"] = list(answers)
    part = sheet(task, table, judged, settings.rows, out / "suspects")
    (out / "index.html").write_text(page({**facts, "part": part}), "utf-8")
    artifacts.write_json(out / "summary.json", {**facts, "judged": len(table), "wrong": judged.wrong})
    return f"{told}; {artifacts.folder('suspects', task.name)}/index.html shows the first {facts['rows']}"


def main(task: Task) -> None:
    wanted, settings = task.section("crossvalidate", folds.Config), task.section("suspects", Config)
    folds.require_some(wanted, settings.rows, task.where)
    with artifacts.fresh(artifacts.folder("suspects", task.name)) as out:
        if not settings.rows:
            artifacts.write_json(out / "summary.json", {"rows": 0})
            return
        told = run(task, wanted, settings, out)
    log.info("%s: %s", task.name, told)


if __name__ == "__main__":
    stage.run("suspects", main)
