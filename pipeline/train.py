"""Stage train: the network, with the values that tune left, resumed where a killed run stopped."""

import csv
import hashlib
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config, prepared, rank, ranks, stage
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.examples import Split, TextInputs
from pipeline.fit.settings import Config

if TYPE_CHECKING:
    from pipeline.fit import loop

log = logging.getLogger(__name__)
CODE = ("fit", "loader", "losses", "models", "optimizers", "schedules")
"""Folders whose files decide the weights, beside the modules that `fingerprint` names."""


def main(task: Task) -> None:
    # Read when torch is imported. Threads that wait by spinning take five times the CPU as soon as another
    # process wants the core, which is so whenever two tasks train at once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.tracking.runs import Run

    values, model, train = _values(task)
    checkpoints = artifacts.STATE / "checkpoints" / f"{task.name}-{fingerprint(task, values)}"
    out = artifacts.folder("models", task.name)
    many = train.parallel.processes > 1
    if many:
        from pipeline.fit import hardware

        hardware.require_devices(train)
    with Run(task.name, "train", {"model": values["model"], "train": values["train"]}) as run:
        if many:
            _by_ranks(task, train, checkpoints, run)
        else:
            write(out, *run_training(task, values["model"]["name"], model, train, checkpoints, run))
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
    with _asked_to_stop() as stop:
        module, parts = "pipeline.train", train.accumulate
        ranks.run(ranks.Job(module, words, train.parallel, place, parts, on_row=run.log, stop=stop))


def one_rank() -> None:
    """What `_by_ranks` starts: `python -m pipeline.train TASK CHECKPOINTS PARTS` in a rank's environment."""
    name, checkpoints, parts = sys.argv[1:]
    task = config.task(name)
    values, model, train = _values(task)
    found = run_training(task, values["model"]["name"], model, train, Path(checkpoints), rank.Rows(), int(parts))
    if rank.number() == 0:
        write(artifacts.folder("models", name), *found)


def run_training(
    task: Task, name: str, model: Any, train: Config, checkpoints: Path, run: Any, parts: int = 1
) -> tuple["loop.Fit", dict[str, Any]]:
    """Builds the network, fits it and reports each epoch; the second result is what model.json says."""
    import torch

    from pipeline import architecture, network, vocabulary
    from pipeline.fit import loop, objective

    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    splits = {name: _split(reader, folder, features, name) for name in ("train", "validation")}
    inputs, target = reader.inputs(folder, features), prepared.target(folder)
    module = config.plugin("models", name, f"{task.where}.model.name")
    torch.manual_seed(train.seed)
    built = network.network(module, model, inputs, target)

    def words() -> vocabulary.Vocabulary:
        assert isinstance(inputs, TextInputs)
        return vocabulary.of(artifacts.read_json(features / "vocabulary.json"), splits["train"], inputs)

    network.acquaint(module, built.body, words)

    def name_of(row: int) -> str:
        return str(prepared.table(folder, "train", ["id"])["id"].iloc[row])

    def on_epoch(row: loop.Row) -> None:
        run.log(int(row["epoch"]), row)
        log.info("%s", objective.told(row))

    data = loop.Data(splits["train"], splits["validation"], inputs, target, name_of)
    with _bar() as on_step, _asked_to_stop() as stop:
        hooks = loop.Hooks(on_epoch, on_step, stop)
        fitted = loop.fit(built.net, built.stages, data, train, checkpoints=checkpoints, hooks=hooks, parts=parts)
    about = network.describe(name, model, inputs, target)
    made = architecture.layers(built.net, inputs)
    about |= architecture.sums(made) | {"best_epoch": fitted.best_epoch, "choices": fitted.choices}
    about["learning_rate"] = fitted.found.rate
    about["judged"] = fitted.judged | {"ignorant": {"loss": objective.ignorance(target, splits["validation"])}}
    return fitted, about | {"layers": [asdict(layer) for layer in made]}


def _split(reader: ModuleType, folder: Path, features: Path, name: str) -> Split:
    split: Split = reader.load(folder, features, name)
    if not len(split):
        raise DataError(f"{folder}: the {name} split is empty; expected examples; add data or see the quarantine")
    return split


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(unit="step", disable=None if rank.number() == 0 else True, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


@contextmanager
def _asked_to_stop() -> Iterator[Any]:
    """Tells within the block whether SIGTERM has come, here or to who started this; the next step then is the last."""
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield (lambda: asked.is_set() or rank.asked_to_stop()) if rank.started() else asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


def write(out: Path, fitted: "loop.Fit", about: dict[str, Any]) -> None:
    """weights.safetensors, model.json, history.csv and, where the learning rate was found, range.csv."""
    from safetensors.torch import save_file

    with artifacts.fresh(out) as folder:
        save_file({name: value.contiguous() for name, value in fitted.state.items()}, folder / "weights.safetensors")
        artifacts.write_json(folder / "model.json", about)
        _write_table(folder / "history.csv", fitted.history)
        if fitted.found.rates:
            pairs = zip(fitted.found.rates, fitted.found.losses, strict=True)
            _write_table(folder / "range.csv", [{"learning_rate": rate, "loss": loss} for rate, loss in pairs])


def _write_table(path: Path, rows: "list[loop.Row]") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def fingerprint(task: Task, values: dict[str, Any]) -> str:
    """A hash of all that decides the weights: a checkpoint of anything else is never resumed."""
    import torch

    from pipeline import batches, distributed, network, sampling, targets, vocabulary
    from pipeline.features import resizing

    digest = hashlib.sha256(repr((sorted(values["model"].items()), sorted(values["train"].items()))).encode())
    digest.update(torch.__version__.encode())
    sources = [
        Path(str(part.__file__)) for part in (network, batches, distributed, sampling, targets, vocabulary, resizing)
    ]
    for name in CODE:
        sources += sorted((Path(__file__).parent / name).glob("*.py"))
    for path in [*sources, *_data(task)]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _data(task: Task) -> list[Path]:
    """The files that tell what the network reads: of the shards their index, which has a hash of their contents."""
    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    shards = [path for split in ("train", "validation") for path in sorted((folder / split).iterdir())]
    tables = [path for path in shards if path.suffix == ".parquet" and not path.name.endswith(".texts.parquet")]
    return [
        folder / "meta.json",
        *(path for path in shards if path.name == "index.json"),
        *tables,
        *(path for path in sorted(features.iterdir()) if path.suffix in (".json", ".npy") and path.is_file()),
    ]


if __name__ == "__main__":
    if rank.started():
        rank.serve(one_rank)
    else:
        stage.run("train", main)
