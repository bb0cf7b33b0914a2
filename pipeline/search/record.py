"""What is kept of a study: study.json, from which the report draws, and trials.csv."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artifacts
from pipeline.search import journal
from pipeline.search.settings import Config
from pipeline.search.space import Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "unfinished"}
TREES = 64
"""Of the forest behind the importances, as Optuna has it."""


def study(
    trials: Sequence["FrozenTrial"], space: Space, settings: Config, measure: str, direction: Any
) -> dict[str, Any]:
    """Plain values; `best` is the number of the trial whose values train uses."""
    best = journal.best(list(trials), direction)
    return {
        "measure": measure,
        "direction": direction,
        "sampler": settings.sampler.name,
        "pruner": settings.pruner.name,
        "workers": settings.workers,
        "seed": settings.seed,
        "best": None if best is None else best.number,
        "importances": importances(trials, space, direction),
        "dimensions": [
            {
                "path": d.path,
                "log": bool(d.range and d.range.log),
                "choices": None if d.range else [d.value(k) for k in range(len(d.choices))],
            }
            for d in space.dimensions
        ],
        "trials": [_trial(trial) for trial in trials],
    }


def _trial(trial: "FrozenTrial") -> dict[str, Any]:
    state = STATES[trial.state.name]
    return {
        "number": trial.number,
        "state": state,
        "value": trial.value if state == "completed" else None,
        "params": trial.params,
        "epochs": len(trial.intermediate_values),
        "last": _finite(trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None),
        "started": trial.datetime_start.timestamp() if trial.datetime_start else None,
        "seconds": journal.seconds(trial),
        "reason": trial.user_attrs.get("error") or trial.user_attrs.get("pruned") or "",
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def importances(trials: Sequence["FrozenTrial"], space: Space, direction: Any) -> dict[str, float]:
    """How much of the completed trials' variance each field explains by itself, by fANOVA (Hutter et al., 2014).

    As shares of their sum: what fields explain only together is in none of them. Empty for fewer than four completed
    trials, and where all have the same value.
    """
    import optuna

    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if len(done) < 4 or len({trial.value for trial in done}) < 2 or len(space.dimensions) < 1:
        return {}
    shadow = optuna.create_study(direction=direction)
    shadow.add_trials(done)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    found = optuna.importance.get_param_importances(shadow, evaluator=evaluator)
    return {name: round(float(share), 6) for name, share in found.items()}


def write(folder: Path, found: dict[str, Any]) -> None:
    artifacts.write_json(folder / "study.json", found)
    paths = [dimension["path"] for dimension in found["dimensions"]]
    with (folder / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["number", "state", found["measure"], "epochs", "seconds", *paths, "reason"])
        for trial in found["trials"]:
            seconds = "" if trial["seconds"] is None else f"{trial['seconds']:.2f}"
            values = [trial["params"].get(path, "") for path in paths]
            table.writerow(
                [trial["number"], trial["state"], trial["value"], trial["epochs"], seconds, *values, trial["reason"]]
            )
