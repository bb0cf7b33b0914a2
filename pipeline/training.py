"""One training as train, tune and the folds do it: the network, its splits and what it starts from, fitted and told."""

import hashlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config, prepared, pulse, rank
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.examples import Split, TextInputs
from pipeline.fit.settings import Config

if TYPE_CHECKING:
    from pipeline import network
    from pipeline.fit import loop

log = logging.getLogger(__name__)
TEACHER = "teacher.npy"  # beside the checkpoints: what a registered one answers
CODE = ("augmentation", "fit", "initial", "loader", "losses", "models", "optimizers", "schedules")
"""Folders whose files decide the weights, beside the modules that `fingerprint` names."""


def run(
    task: Task,
    name: str,
    model: Any,
    train: Config,
    checkpoints: Path,
    run: Any,
    named: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    parts: int = 1,
) -> tuple["loop.Fit", dict[str, Any]]:
    """Builds the network, fits it and reports each epoch; the second result is what model.json says.

    named: what tune wrote of the weights to start from, and of the teacher.
    """
    from pipeline import network, starting
    from pipeline.fit import loop, objective

    made = _made(task, name, model, train, checkpoints, named)
    built, data = made.built, made.data

    def on_epoch(row: loop.Row) -> None:
        run.log(int(row["epoch"]), row)
        log.info("%s", objective.told(row))

    with _bar() as on_step, stopping() as stop:
        hooks = loop.Hooks(on_epoch, on_step, stop)
        fitted = loop.fit(built.net, built.stages, data, train, checkpoints=checkpoints, hooks=hooks, parts=parts)
    starting.release(built.body, made.module, train.vectors)
    about = _about(made, fitted, train)
    return fitted, network.describe(name, model, data.inputs, data.target) | about


def ask_teacher(task: Task, named: Mapping[str, Mapping[str, str]], folder: Path, stop: Callable[[], bool]) -> None:
    """Leaves in `folder` what the teacher of tune's pins, if there is one, answers to the train split.

    Before any rank or trial begins: none makes a step while a teacher answers.
    """
    if "teacher" not in named:
        return
    from pipeline.initial import teaching
    from pipeline.initial.pins import Pin

    rows = artifacts.folder("prepared", task.name)
    teaching.ask(Pin(**named["teacher"]), rows, task.kind, prepared.target(rows), folder / TEACHER, stop)


@dataclass(frozen=True)
class _Made:
    """What is trained, and on what."""

    module: ModuleType  # the model's file
    built: "network.Network"
    data: "loop.Data"
    started: dict[str, Any]  # what of the weights was taken over
    taught: dict[str, str]  # by whom
    split: str  # which examples are held out


def _made(
    task: Task, name: str, model: Any, train: Config, checkpoints: Path, named: Mapping[str, Mapping[str, str]]
) -> _Made:
    """The network with the weights that it starts from, and the splits."""
    import torch

    from pipeline import network, starting, vocabulary
    from pipeline.initial import fitting, sources, teaching
    from pipeline.initial.pins import Pin

    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    seen = data(task, train)
    module = config.plugin("models", name, f"{task.where}.model.name")
    torch.manual_seed(train.seed)
    built = network.network(module, model, seen.inputs, seen.target)
    known, inputs = _words(features), seen.inputs
    if known is not None and isinstance(inputs, TextInputs):
        network.acquaint(module, built.body, lambda: vocabulary.of(known, seen.train, inputs))
    starting.embed(built.body, module, features, train.vectors)
    pins = {key: Pin(**pin) for key, pin in named.items()}
    started = fitting.fit(built, sources.read(pins["init"]), known) if "init" in pins else {}
    split = prepared.split_digest(folder)
    told = {key: {"split": sources.split(pin, split)} for key, pin in pins.items() if "://" not in pin.place}
    started |= told.get("init", {})
    if "teacher" in pins:
        kept, count = checkpoints / TEACHER, len(seen.train)
        taught = teaching.answers(pins["teacher"], folder, task.kind, count, seen.target, kept)
        seen = replace(seen, teacher=taught)
    return _Made(module, built, seen, started, dict(named.get("teacher", {})) | told.get("teacher", {}), split)


def data(task: Task, train: Config) -> "loop.Data":
    """What the task's networks learn from and are judged by, without a teacher's answers."""
    from pipeline.fit import loop, rewording

    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    train_split, validation = (examples(reader, folder, features, split) for split in ("train", "validation"))

    def name_of(row: int) -> str:
        return str(prepared.table(folder, "train", ["id"])["id"].iloc[row])

    words = rewording.load(features, train.texts) if task.kind == "text" else None
    inputs, target = reader.inputs(folder, features), prepared.target(folder)
    return loop.Data(train_split, validation, inputs, target, name_of, words)


def _about(made: _Made, fitted: "loop.Fit", train: Config) -> dict[str, Any]:
    """What model.json says of the trained network, beside what `load` needs."""
    from pipeline import architecture
    from pipeline.fit import objective

    data, layers = made.data, architecture.layers(made.built.net, made.data.inputs)
    measure = objective.measure(train, data.target, data.train)
    ignorant = {"loss": objective.ignorance(data.target, data.validation, measure)}
    return {
        **architecture.sums(layers),
        "best_epoch": fitted.best_epoch,
        "learning_rate": fitted.found.rate,
        "choices": fitted.choices,
        "judged": fitted.judged | {"ignorant": ignorant},
        "split": made.split,
        **({"init": made.started} if made.started else {}),
        **({"teacher": made.taught} if made.taught else {}),
        "layers": [asdict(layer) for layer in layers],
    }


def _words(features: Path) -> list[str] | None:
    """A text task's vocabulary, by the rows of an embedding."""
    path = features / "vocabulary.json"
    return artifacts.read_json(path) if path.is_file() else None


def examples(reader: ModuleType, folder: Path, features: Path, name: str) -> Split:
    split: Split = reader.load(folder, features, name)
    if not len(split):
        raise DataError(f"{folder}: the {name} split is empty; expected examples; add data or see the quarantine")
    return split


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(unit="step", disable=None if pulse.rank() == 0 else True, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


@contextmanager
def stopping() -> Iterator[Any]:
    """Tells within the block whether SIGTERM has come, here or to who started this; the next step then is the last."""
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield (lambda: asked.is_set() or rank.asked_to_stop()) if rank.started() else asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


def fingerprint(task: Task, values: dict[str, Any]) -> str:
    """A hash of all that decides the weights: a checkpoint of anything else is never resumed."""
    import torch

    from pipeline import batches, distributed, network, sampling, starting, targets, vocabulary
    from pipeline.features import resizing

    named = [sorted(values.get(key, {}).items()) for key in ("model", "train", "pins")]
    digest = hashlib.sha256(repr(named).encode())
    digest.update(torch.__version__.encode())
    parts = (network, batches, distributed, sampling, starting, targets, vocabulary, resizing)
    sources = [Path(str(part.__file__)) for part in parts]
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
