"""Stage baseline: the simple model that the network has to beat, in every report."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, metrics, prepared, stage, targets
from pipeline.config import Task

if TYPE_CHECKING:
    from pipeline.baselines.linear import Linear

log = logging.getLogger(__name__)


def fit(task: Task) -> "Linear":
    """Fitted on the train split, with its answers to the others."""
    module, config = task.of_kind("baseline", "baselines")
    fitted: Linear = module.fit(
        artifacts.folder("prepared", task.name), artifacts.folder("features", task.name), config
    )
    return fitted


def main(task: Task) -> None:
    from pipeline.tracking.runs import Run

    config = task.of_kind("baseline", "baselines")[1]
    folder = artifacts.folder("prepared", task.name)
    target = prepared.target(folder)
    with Run(task.name, "baseline", asdict(config), live=False) as run:
        fitted = fit(task)
        arrays: dict[str, Any] = dict(fitted.arrays)
        measured = metrics.score(prepared.truth(folder, "validation"), fitted.probabilities["validation"], target)
        with artifacts.fresh(artifacts.folder("baseline", task.name)) as out:
            np.savez(out / "weights.npz", **arrays)
            record = {**fitted.record, "config": asdict(config), **targets.record(target), "validation": measured}
            artifacts.write_json(out / "baseline.json", record)
            for split, probabilities in fitted.probabilities.items():
                np.save(out / f"{split}.probabilities.npy", probabilities)
        run.log(0, {f"validation/{name}": value for name, value in measured.items()})
        run.artifact(artifacts.folder("baseline", task.name) / "baseline.json")
    figures = metrics.of(target.kind)
    told = [f"{name} {measured[name]:.4f}" for name in (figures.HEADLINES[0], figures.BESIDE) if name in measured]
    log.info("%s: validation %s", task.name, ", ".join(told))


if __name__ == "__main__":
    stage.run("baseline", main)
