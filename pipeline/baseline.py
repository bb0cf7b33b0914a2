"""Stage baseline: the simple model that the network has to beat, in every report."""

import logging
from dataclasses import asdict

import numpy as np

from pipeline import artifacts, metrics, prepared, stage, targets
from pipeline.config import Task

log = logging.getLogger(__name__)


def main(task: Task) -> None:
    from pipeline.tracking.runs import Run

    module, config = task.of_kind("baseline", "baselines")
    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    target = prepared.target(folder)
    with Run(task.name, "baseline", asdict(config), live=False) as run:
        fitted = module.fit(folder, features, config)
        measured = metrics.score(prepared.truth(folder, "validation"), fitted.probabilities["validation"], target)
        with artifacts.fresh(artifacts.folder("baseline", task.name)) as out:
            np.savez(out / "weights.npz", **fitted.arrays)
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
