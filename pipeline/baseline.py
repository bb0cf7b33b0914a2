"""Stage baseline: the simple model that the network has to beat, in every report."""

import logging
from dataclasses import asdict

import numpy as np

from pipeline import artifacts, metrics, prepared, stage
from pipeline.config import Task

log = logging.getLogger(__name__)


def main(task: Task) -> None:
    from pipeline.tracking.runs import Run

    module, config = task.of_kind("baseline", "baselines")
    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    classes = prepared.classes(folder)
    with Run(task.name, "baseline", asdict(config), live=False) as run:
        fitted = module.fit(folder, features, config)
        labels = prepared.labels(folder, "validation")
        measured = metrics.score(labels, fitted.probabilities["validation"], classes)
        with artifacts.fresh(artifacts.folder("baseline", task.name)) as out:
            np.savez(out / "weights.npz", **fitted.arrays)
            record = {**fitted.record, "config": asdict(config), "classes": classes, "validation": measured}
            artifacts.write_json(out / "baseline.json", record)
            for split, probabilities in fitted.probabilities.items():
                np.save(out / f"{split}.probabilities.npy", probabilities)
        run.log(0, {f"validation/{name}": value for name, value in measured.items()})
        run.artifact(artifacts.folder("baseline", task.name) / "baseline.json")
    log.info("%s: validation accuracy %.4f, macro-F1 %.4f", task.name, measured["accuracy"], measured["macro_f1"])


if __name__ == "__main__":
    stage.run("baseline", main)
