"""Stage crossvalidate: the candidates fitted and tested on k folds, each anew on its own train part.

It leaves a metric that git tracks and no output that DVC keeps, so that a clone with equal inputs need not run it; the
folds' answers stay in .danlu/folds for stage suspects.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline import artifacts, folds, quality, stage, targets
from pipeline.config import Task
from pipeline.folds import Config

__all__ = ["Config", "crossvalidate", "main"]
log = logging.getLogger(__name__)


def crossvalidate(task: Task, wanted: Config) -> dict[str, Any]:
    """What data/metrics/<task>.folds.json says.

    Raises: ConfigError, DataError for settings or rows that allow no folds; TrainingError, StoppedError.
    """
    if not wanted.folds:
        return {"folds": 0}
    from pipeline.folding import answering, figures

    target = targets.recorded(artifacts.read_json(artifacts.folder("validated", task.name) / "summary.json"))
    judged = quality.check(task.section("evaluate", quality.Config), target, f"{task.where}.evaluate")
    found = answering.collected(task, wanted)
    searched = (artifacts.folder("tuned", task.name) / "study.json").is_file()  # on rows that the folds then test
    return figures.measured(found, judged, target) | {
        "kind": wanted.kind,
        "seed": wanted.seed,
        "optimistic": searched,
    }


def main(task: Task) -> None:
    wanted = task.section("crossvalidate", folds.Config)
    out = artifacts.DATA / "metrics" / f"{task.name}.folds.json"
    if not wanted.folds:
        artifacts.write_json(out, crossvalidate(task, wanted))
        return
    from pipeline.tracking.runs import Run

    with Run(task.name, "crossvalidate", asdict(wanted), live=False) as run:
        found = crossvalidate(task, wanted)
        artifacts.write_json(out, found)
        for step, points in enumerate(_points(found), 1):
            run.log(step, points)
        run.log(wanted.folds, {f"mean/{name}": value for name, value in _means(found).items()})
        run.artifact(out)
    headline = found["headline"]
    for name, measured in found["candidates"].items():
        figure = measured[headline]
        bounds = f"{figure['low']:.4f}..{figure['high']:.4f}"
        log.info(
            "%s: %s: %s %.4f (%s), mean of %d folds", task.name, name, headline, figure["value"], bounds, wanted.folds
        )
    if found["optimistic"]:
        log.info("%s: these means are optimistic: the search has seen rows that the folds test", task.name)


def _means(found: Mapping[str, Any]) -> dict[str, float]:
    each = found["candidates"].items()
    return {f"{name}/{metric}": figure["value"] for name, measured in each for metric, figure in measured.items()}


def _points(found: Mapping[str, Any]) -> list[dict[str, float]]:
    """The metrics of each fold."""
    return [
        {
            f"test/{name}/{metric}": figure["folds"][number]
            for name, measured in found["candidates"].items()
            for metric, figure in measured.items()
            if figure["folds"][number] is not None
        }
        for number in range(found["folds"])
    ]


if __name__ == "__main__":
    stage.run("crossvalidate", main)
