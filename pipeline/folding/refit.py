"""One fold as a process of its own: `python -m pipeline.folding.refit JOB`, JOB being a JSON file.

It walks the stages from split to train in a folder of its own, and leaves the answers of baseline and network to what
the fold holds out. That every fold learns vocabulary, terms, vectors and statistics anew on its own train part alone
follows from this: it runs the stages' own code on a project that holds nothing else. This is the one module that
imports stages; none of them knows of it. `folding.compressed` goes on from it.
N examples, O outputs.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, baseline, config, featurize, prepare, prepared, rank, split, stage, train, training
from pipeline.config import Task
from pipeline.fit.settings import Config
from pipeline.folding import workspace

if TYPE_CHECKING:
    from pipeline.baselines.linear import Linear

HELD_OUT = ("validation", "test")
STAGES = (split, prepare, featurize)
"""What a fold walks before anything learns."""
ERROR = ".error.json"


class Rows:
    """Takes the place of a tracked run: a fold's epochs stand in its log."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass


def settled(values: Mapping[str, Any]) -> dict[str, Any]:
    """What tune left, for one process of one thread that fills batches: as many folds work side by side."""
    own = dict(values["train"])
    own["parallel"] = {**own.get("parallel", {}), "processes": 1}
    own["filling"] = own.get("filling") or 1
    return {**values, "train": own}


def refit(task: Task, values: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Answers [N, O] of each candidate to what is held out; the current folder is the fold's own."""
    for one in STAGES:
        one.main(task)
    simple = linear(task).probabilities
    found = {"baseline": {side: np.asarray(simple[side]) for side in HELD_OUT}}
    return found | {"net": net(task, values)}


def linear(task: Task) -> "Linear":
    """The linear model, with its answers."""
    return baseline.fit(task)


def net(task: Task, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The network's answers [N, O] to what is held out; it stays in data/models."""
    from pipeline import network

    where = f"data/tuned/{task.name}/values.json"
    model = config.named("models", values["model"], f"{where}: model")[1]
    settings = config.parse(Config, values["train"], f"{where}: train")
    checkpoints = artifacts.STATE / "checkpoints" / f"{task.name}-{training.fingerprint(task, dict(values))}"
    pins = values.get("pins", {})
    fitted = training.run(task, values["model"]["name"], model, settings, checkpoints, Rows(), pins)
    out = artifacts.folder("models", task.name)
    with artifacts.fresh(out) as building:
        train.write(building, *fitted)
    loaded = network.load(out)
    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    return {
        side: network.predict(loaded.net, reader.load(folder, features, side), loaded.inputs, loaded.target)
        for side in HELD_OUT
    }


def leave(stem: Path, task: Task, answers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """`stem`.npz with answers and truth, .parquet with the tested rows; .json comes last and says that all is there."""
    folder = artifacts.folder("prepared", task.name)
    arrays: dict[str, Any] = {
        f"{name}/{side}": array for name, by_side in answers.items() for side, array in by_side.items()
    }
    arrays |= {f"truth/{side}": prepared.truth(folder, side) for side in HELD_OUT}
    with artifacts.whole(stem.with_suffix(".npz")) as building, building.open("wb") as file:
        np.savez(file, **arrays)
    with artifacts.whole(stem.with_suffix(".parquet")) as building:
        prepared.table(folder, "test", ["id", "label"]).to_parquet(building, index=False)
    meta = artifacts.read_json(folder / "meta.json")
    artifacts.write_json(
        stem.with_suffix(".json"), {"counts": meta["counts"], "leaks": meta["leaks"], "candidates": list(answers)}
    )


@contextlib.contextmanager
def _noted(stem: Path) -> Iterator[None]:
    """A known error is left beside the answers, for the process that waits."""
    try:
        yield
    except Exception as error:
        if (known := stage.known(error)) is None:
            raise
        artifacts.write_json(stem.with_suffix(ERROR), {"kind": type(known).__name__, "message": str(known)})
        sys.exit(known.exit_code)


def work(do: Callable[[Path, Task, Mapping[str, Any]], None]) -> None:
    """Does the job that the command line names, in the fold's own folder; `do` gets its path without suffix."""
    # Read when torch is imported: threads that wait by spinning would take the cores of the other folds.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    rank.tie(int(os.environ[rank.STARTER]))
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    stem = Path(sys.argv[1]).absolute().with_suffix("")
    job = artifacts.read_json(Path(sys.argv[1]))
    task = Task(job["task"], job["kind"], job["sections"])
    with _noted(stem):
        workspace.make(Path(job["folder"]), task.name, np.load(f"{stem}.npy", allow_pickle=False))
        os.chdir(job["folder"])
        do(stem, task, job)


def main() -> None:
    work(lambda stem, task, job: leave(stem, task, refit(task, job["values"])))


if __name__ == "__main__":
    main()
