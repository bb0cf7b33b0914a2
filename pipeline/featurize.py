"""Stage featurize: what the train split alone teaches about reading the examples."""

import logging

from pipeline import artifacts, stage
from pipeline.config import Task

log = logging.getLogger(__name__)


def main(task: Task) -> None:
    module, config = task.of_kind("features", "features")
    with artifacts.fresh(artifacts.folder("features", task.name)) as out:
        found = module.featurize(artifacts.folder("prepared", task.name), out, config)
    log.info("%s: %s", task.name, ", ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    stage.run("featurize", main)
