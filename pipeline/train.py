"""Stage train: the network, with the values that tune left, resumed where a killed run stopped."""

import csv
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config, stage
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.examples import Split

if TYPE_CHECKING:
    from pipeline import fit

log = logging.getLogger(__name__)


def main(task: Task) -> None:
    # Read when torch is imported. Threads that wait by spinning take five times the CPU as soon as another
    # process wants the core, which is so whenever two tasks train at once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline import fit
    from pipeline.tracking.runs import Run

    values_path = artifacts.folder("tuned", task.name) / "values.json"
    values = artifacts.read_json(values_path)
    module, model = config.named("models", values["model"], f"{values_path}: model")
    train = config.parse(fit.Config, values["train"], f"{values_path}: train")
    checkpoints = artifacts.STATE / "checkpoints" / f"{task.name}-{fingerprint(task, values, module)}"
    out = artifacts.folder("models", task.name)
    with Run(task.name, "train", {"model": values["model"], "train": values["train"]}) as run:
        fitted, about = run_training(task, values["model"]["name"], model, train, checkpoints, run)
        with artifacts.fresh(out) as building:
            write(building, fitted, about)
        artifacts.copy_plot(out / "history.csv", task.name)
        for name in ("model.json", "history.csv"):
            run.artifact(out / name)
    for old in checkpoints.parent.glob(f"{task.name}-{'[0-9a-f]' * 16}"):  # not those of a task named like this one
        shutil.rmtree(old, ignore_errors=True)


def run_training(
    task: Task, name: str, model: Any, train: "fit.Config", checkpoints: Path, run: Any
) -> tuple["fit.Fit", dict[str, Any]]:
    """Builds the network, fits it and reports each epoch; the second result is what model.json says."""
    import torch

    from pipeline import fit, network

    prepared, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    classes = artifacts.read_json(prepared / "meta.json")["classes"]
    splits = {name: _split(reader, prepared, features, name) for name in ("train", "validation")}
    inputs = reader.inputs(prepared, features)
    module = config.plugin("models", name, f"{task.where}.model.name")
    torch.manual_seed(train.seed)
    net = network.network(task.kind, module, model, inputs, classes)

    def on_epoch(row: dict[str, float]) -> None:
        run.log(int(row["epoch"]), row)
        log.info(
            "epoch %d: train loss %.4f, validation loss %.4f, accuracy %.4f, macro-F1 %.4f, %.1f s",
            *(row[key] for key in ("epoch", "train_loss", "validation_loss", "validation_accuracy")),
            *(row[key] for key in ("validation_macro_f1", "seconds")),
        )

    with _bar(fit.steps(train, fit.seen(train, splits["train"], classes))) as on_step:
        fitted = fit.fit(
            net, splits["train"], splits["validation"], inputs, train,
            classes=classes, checkpoints=checkpoints, on_epoch=on_epoch, on_step=on_step,
        )  # fmt: skip
    about = network.describe(name, model, inputs, classes)
    about["parameters"] = sum(p.numel() for p in net.parameters())
    return fitted, about | {"best_epoch": fitted.best_epoch, "device": fitted.device}


def _split(reader: ModuleType, prepared: Path, features: Path, name: str) -> Split:
    split: Split = reader.load(prepared, features, name)
    if not len(split):
        raise DataError(f"{prepared}: the {name} split is empty; expected examples; add data or see the quarantine")
    return split


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(total=total, unit="step", disable=None, file=sys.stderr) as bar:
        yield lambda done: bar.update(done - bar.n)


def write(folder: Path, fitted: "fit.Fit", about: dict[str, Any]) -> None:
    """weights.safetensors, model.json and history.csv."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in fitted.state.items()}, folder / "weights.safetensors")
    artifacts.write_json(folder / "model.json", about)
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, fieldnames=list(fitted.history[0]))
        rows.writeheader()
        rows.writerows(fitted.history)


def fingerprint(task: Task, values: dict[str, Any], module: ModuleType) -> str:
    """A hash of all that decides the weights: a checkpoint of anything else is never resumed."""
    import torch

    from pipeline import batches, fit, loader, network, sampling
    from pipeline.features import resizing

    digest = hashlib.sha256(repr((sorted(values["model"].items()), sorted(values["train"].items()))).encode())
    digest.update(torch.__version__.encode())
    sources = [Path(str(part.__file__)) for part in (module, fit, network, batches, sampling, resizing)]
    sources += sorted(Path(str(loader.__file__)).parent.glob("*.py"))
    for path in [*sources, *_data(task)]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _data(task: Task) -> list[Path]:
    """The files that tell what the network reads: of the shards their index, which has a hash of their contents."""
    prepared, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    shards = [path for split in ("train", "validation") for path in sorted((prepared / split).iterdir())]
    tables = [path for path in shards if path.suffix == ".parquet" and not path.name.endswith(".texts.parquet")]
    return [
        prepared / "meta.json",
        *(path for path in shards if path.name == "index.json"),
        *tables,
        *(path for path in sorted(features.iterdir()) if path.suffix in (".json", ".npy") and path.is_file()),
    ]


if __name__ == "__main__":
    stage.run("train", main)
