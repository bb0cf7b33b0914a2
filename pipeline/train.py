"""Stage train: the network, with the values that tune left, resumed where a killed run stopped."""

import csv
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config, pulse, rank, ranks, stage, training
from pipeline.config import Task
from pipeline.fit.settings import Config

if TYPE_CHECKING:
    from pipeline.fit import loop

log = logging.getLogger(__name__)


def main(task: Task) -> None:
    # Read when torch is imported. Threads that wait by spinning take five times the CPU as soon as another
    # process wants the core, which is so whenever two tasks train at once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.tracking.runs import Run

    values, model, train = _values(task)
    checkpoints = artifacts.STATE / "checkpoints" / f"{task.name}-{training.fingerprint(task, values)}"
    out = artifacts.folder("models", task.name)
    many = train.parallel.processes > 1
    if many:
        from pipeline.fit import hardware

        hardware.require_devices(train)
    with Run(task.name, "train", {"model": values["model"], "train": values["train"]}) as run:
        with training.stopping() as stop:
            training.ask_teacher(task, values.get("pins", {}), checkpoints, stop)
        if many:
            _by_ranks(task, train, checkpoints, run)
        else:
            found = training.run(task, values["model"]["name"], model, train, checkpoints, run, values.get("pins", {}))
            leave(out, task, train, *found)
        _tag(run, artifacts.read_json(out / "model.json"))
        artifacts.copy_plot(out / "history.csv", task.name)
        for name in ("model.json", "history.csv"):
            run.artifact(out / name)
    for old in checkpoints.parent.glob(f"{task.name}-{'[0-9a-f]' * 16}"):  # not those of a task named like this one
        shutil.rmtree(old, ignore_errors=True)


def _values(task: Task) -> tuple[dict[str, Any], Any, Config]:
    """What tune left, as it is and as the settings of the model and of the training."""
    path = artifacts.folder("tuned", task.name) / "values.json"
    values = artifacts.read_json(path)
    _, model = config.named("models", values["model"], f"{path}: model")
    return values, model, config.parse(Config, values["train"], f"{path}: train")


def _by_ranks(task: Task, train: Config, checkpoints: Path, run: Any) -> None:
    """The same by several processes, of which the first writes the model's folder."""
    place, words = artifacts.STATE / "ranks" / checkpoints.name, [task.name, str(checkpoints)]
    with training.stopping() as stop:
        ranks.run(ranks.Job("pipeline.train", words, train.parallel, place, on_row=run.log, stop=stop))


def one_rank() -> None:
    """What `_by_ranks` starts: `python -m pipeline.train TASK CHECKPOINTS PARTS` in a rank's environment."""
    name, checkpoints, parts = sys.argv[1:]
    task = config.task(name)
    values, model, train = _values(task)
    found = training.run(
        task, values["model"]["name"], model, train, Path(checkpoints), rank.Rows(), values.get("pins", {}), int(parts)
    )
    if pulse.rank() == 0:
        leave(artifacts.folder("models", name), task, train, *found)


def _tag(run: Any, about: Mapping[str, Any]) -> None:
    """Where the weights started from, and who taught, beside the run."""
    for key in ("from", "sha256", "kept", "new", "split"):
        if key in about.get("init", {}):
            run.tag(f"init.{key}", str(about["init"][key]))
    for key, word in about.get("teacher", {}).items():
        run.tag(f"teacher.{key}", word)


def leave(out: Path, task: Task, train: Config, fitted: "loop.Fit", about: dict[str, Any]) -> None:
    """Writes the stage's folder whole."""
    with artifacts.fresh(out) as building:
        write(building, fitted, about)
        show_augmentation(building, task, train)


def write(folder: Path, fitted: "loop.Fit", about: dict[str, Any]) -> None:
    """weights.safetensors, model.json, history.csv and, where the learning rate was found, range.csv."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in fitted.state.items()}, folder / "weights.safetensors")
    artifacts.write_json(folder / "model.json", about)
    _write_table(folder / "history.csv", fitted.history)
    if fitted.found.rates:
        pairs = zip(fitted.found.rates, fitted.found.losses, strict=True)
        _write_table(folder / "range.csv", [{"learning_rate": rate, "loss": loss} for rate, loss in pairs])


def show_augmentation(folder: Path, task: Task, train: Config) -> None:
    """augmented.png or augmented.json, where train examples are changed at random: what becomes of eight of them."""
    from pipeline.examples import ImageInputs
    from pipeline.fit import augmented, reworded, rewording

    origin, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    inputs, split = reader.inputs(origin, features), training.examples(reader, origin, features, "train")
    if not isinstance(inputs, ImageInputs):
        reworded.write(folder, features, split, inputs, rewording.load(features, train.texts), train)
    elif train.images.on or train.mixing.on:
        augmented.write(augmented.draw(split, inputs, train), folder / augmented.NAME)


def _write_table(path: Path, rows: "list[loop.Row]") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    if rank.started():
        rank.serve(one_rank)
    else:
        stage.run("train", main)
