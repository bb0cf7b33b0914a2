"""Stage split: where each class's validation and test begin, found once and then remembered.

Its output is small, tracked by git and kept when the stage runs again, so that no example moves as data grow.
"""

import logging
from collections.abc import Sequence

import numpy as np

from pipeline import artifacts, sides, stage
from pipeline.config import Task

log = logging.getLogger(__name__)


def split(examples: sides.Examples, classes: Sequence[str], shares: Sequence[float], known: sides.Begin) -> sides.Begin:
    """The known classes' edges, and the other classes' as `sides.balance` finds them."""
    unknown = (np.nan, np.nan)
    edges = sides.balance(examples, shares, np.array([known.get(label, unknown) for label in classes]))
    return known | {label: (float(edges[k, 0]), float(edges[k, 1])) for k, label in enumerate(classes)}


def main(task: Task) -> None:
    import pandas as pd

    config = task.of_kind("prepare", "preparation")[1]
    validated = artifacts.folder("validated", task.name)
    classes = artifacts.read_json(validated / "summary.json")["classes"]
    known = sides.read(task.name, config.seed, config.shares)
    examples = sides.examples(
        pd.read_parquet(validated / "accepted.parquet"),
        pd.read_parquet(validated / "neighbours.parquet"),
        classes,
        config.seed,
    )
    begin = split(examples, classes, config.shares, known)
    sides.write(task.name, config.seed, config.shares, begin)
    log.info("split %s: %d classes, %d of them new", task.name, len(classes), len(set(classes) - set(known)))


if __name__ == "__main__":
    stage.run("split", main)
