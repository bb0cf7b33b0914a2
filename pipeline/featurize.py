"""Stage featurize: what the train split alone teaches about reading the examples."""

import logging

from pipeline import artifacts, stage
from pipeline.config import Task

log = logging.getLogger(__name__)


def main(task: Task) -> None:
    module, config = task.of_kind("features", "features")
    with artifacts.fresh(artifacts.folder("features", task.name)) as out:
        prepared = artifacts.folder("prepared", task.name)
        found = module.featurize(prepared, out, config)
        if task.kind == "text" and config.paraphrases.command:
            from pipeline import paraphrasing

            written = paraphrasing.write(prepared, out, config.paraphrases)
            artifacts.write_json(out / "paraphrases.json", written)
            found |= {f"paraphrases: {name}": count for name, count in written.items()}
    log.info("%s: %s", task.name, ", ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    stage.run("featurize", main)
