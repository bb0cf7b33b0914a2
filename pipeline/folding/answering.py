"""Every fold's answers to what it held out, made where they are not kept yet.

They lie in .danlu/folds/<task>-<fingerprint>/, safe to delete: a killed run goes on after the folds that have ended,
and the stages that read them share them. N examples, O outputs.
"""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, config, folds, parts, training
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.fit import settings
from pipeline.folding import refit, running

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
SECTIONS = ("prepare", "features", "baseline")  # of params.yaml, beside what tune left
LIBRARIES = (
    *("torch", "torchvision", "numpy", "numba", "scikit-learn", "scipy", "scikit-image", "pillow", "simplejpeg"),
    *("jieba", "rjieba", "tokenizers", "opencc", "ftfy", "emoji", "transformers"),
)
LATER = {
    *("report", "charts", "spread", "learning", "mistakes", "compress", "evaluate", "register", "examine", "check"),
    *("fetch", "validate", "expectations", "tune", "crossvalidate", "suspects", "suspicion", "searching"),
    *(
        "compressing",
        "export",
        "budget",
        "gate",
        "variants",
        "reloading",
        "profiling",
        "shrinking",
        "weighing",
        "making",
        "tradeoff",
        "judging",
        "folding/compressed",
        "fit/fake_int8",
    ),
    *("graphs", "latency", "predict", "initialise", "errors", "wording", "stage", "ranks", "config", "quality"),
    *("plain", "recognition", "tabular", "columns", "tally", "leakage", "rowwise", "eager", "inference"),
    *("folding/answering", "folding/figures", "folding/running", "near/images"),
}
BESIDE = {
    *("tracking", "examination", "validation", "compression", "engines", "pruning", "sources", "search", "samplers"),
    "pruners",
}
"""Modules and folders of this package that decide no fold's answers."""


@dataclass(frozen=True)
class Fold:
    """truth and each candidate's answers by split: int64 [N] or float32 [N, O]; tested: id and label of test's rows."""

    truth: Mapping[str, np.ndarray]
    answers: Mapping[str, Mapping[str, np.ndarray]]
    tested: "pd.DataFrame"
    counts: Mapping[str, int]  # examples of each split
    leaks: int

    @classmethod
    def read(cls, stem: Path) -> "Fold":
        import pandas as pd

        about = artifacts.read_json(stem.with_suffix(".json"))
        with np.load(stem.with_suffix(".npz"), allow_pickle=False) as arrays:
            found = {
                name: {side: arrays[f"{name}/{side}"] for side in refit.HELD_OUT}
                for name in ("truth", *about["candidates"])
            }
        truth = found.pop("truth")
        return cls(truth, found, pd.read_parquet(stem.with_suffix(".parquet")), about["counts"], about["leaks"])


def collected(task: Task, wanted: folds.Config, again: str = "") -> list[Fold]:
    """Each fold's answers. again: what to say where some have to be made.

    Raises: ConfigError, DataError for what cannot be folded, and what running.run raises.
    """
    values, train = settled(task, wanted)
    root = artifacts.STATE / "folds" / f"{task.name}-{fingerprint(task, wanted, values)}"
    stems = [root / str(number) for number in range(wanted.folds)]
    if again and missing(stems):
        log.info("%s", again)
    with training.stopping() as stop:
        make(task, wanted, values, train, stems, lambda number: {"folder": str(stems[number].absolute())}, stop)
    forget_others(root, task)
    return [Fold.read(stem) for stem in stems]


def settled(task: Task, wanted: folds.Config) -> tuple[dict[str, Any], settings.Config]:
    """What tune left, for a fold, and how that trains. Raises: ConfigError for what has seen every fold."""
    values = refit.settled(artifacts.read_json(artifacts.folder("tuned", task.name) / "values.json"))
    train = config.parse(settings.Config, values["train"], f"data/tuned/{task.name}/values.json: train")
    folds.require_unseen(wanted, train.init, train.teacher, task.where)
    return values, train


def missing(stems: Sequence[Path]) -> list[int]:
    """The numbers of the folds that have not ended."""
    return [number for number, stem in enumerate(stems) if not stem.with_suffix(".json").is_file()]


def forget_others(root: Path, task: Task) -> None:
    """Drops what lies beside `root` of this task, but of none that is named like it."""
    for old in root.parent.glob(f"{task.name}-{'[0-9a-f]' * 16}"):
        if old != root:
            shutil.rmtree(old, ignore_errors=True)


def _tidy(stem: Path) -> None:
    """Leaves a fold that has ended its answers and its log alone."""
    shutil.rmtree(stem, ignore_errors=True)
    for suffix in (".npy", ".job"):
        stem.with_suffix(suffix).unlink(missing_ok=True)


def make(
    task: Task,
    wanted: folds.Config,
    values: Mapping[str, Any],
    train: settings.Config,
    stems: Sequence[Path],
    more: Callable[[int], Mapping[str, Any]],
    stop: Callable[[], bool],
    module: str = "pipeline.folding.refit",
) -> None:
    """Runs the folds that have not ended. more: of a fold's job, by its number; `folder` is where the fold works."""
    left = missing(stems)
    for number in set(range(len(stems))) - set(left):  # a run may have been killed between the answers and this
        _tidy(stems[number])
    if not left:
        return
    _write_jobs(task, wanted, values, {number: stems[number] for number in left}, more)

    def on_end(number: int, seconds: float) -> None:
        _tidy(stems[number])
        counts = artifacts.read_json(stems[number].with_suffix(".json"))["counts"]
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        log.info("%s: fold %d of %d: %s; %.0f s", task.name, number + 1, wanted.folds, told, seconds)

    limit = running.at_once(wanted.workers, len(left), train)
    log.info("%s: %d folds to fit, %d at once where memory allows", task.name, len(left), limit)
    running.run([(number, stems[number]) for number in left], limit, on_end, stop, module)


def _write_jobs(
    task: Task,
    wanted: folds.Config,
    values: Mapping[str, Any],
    stems: Mapping[int, Path],
    more: Callable[[int], Mapping[str, Any]],
) -> None:
    """What each process reads: its settings, and every accepted row's side."""
    shares = task.of_kind("prepare", "preparation")[1].shares
    place = str(artifacts.folder("validated", task.name))
    rows = folds.read(task)
    found = folds.drawn(rows, wanted, place)
    job = {"task": task.name, "kind": task.kind, "sections": dict(task.raw), "values": dict(values)}
    for number, stem in stems.items():
        sided = folds.fold(rows, found, number, shares[1] / (shares[0] + shares[1]), wanted, place)
        with artifacts.whole(stem.with_suffix(".npy")) as building, building.open("wb") as file:
            np.save(file, sided)
        artifacts.write_json(stem.with_suffix(".job"), {**job, **more(number)})
    if rows.out.any():
        log.info("%s: %s rows that the source tests on take part in no fold", task.name, f"{rows.out.sum():,}")


def fingerprint(task: Task, wanted: folds.Config, values: Mapping[str, Any]) -> str:
    """A hash of all that decides the answers."""
    said = {name: task.raw[name] for name in SECTIONS} | {"kind": task.kind, "values": values}
    said |= {"folds": wanted.folds, "split": wanted.kind, "seed": wanted.seed}
    said |= {"versions": dict(versions(LIBRARIES))}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for path in [*_code(task.kind, values["model"]["name"]), *_data(task)]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Of those that are installed: some are extras."""
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _code(kind: str, model: str) -> list[Path]:
    package = Path(__file__).parents[1]
    every = sorted(package.rglob("*.py"))
    return [path for path in every if _decides(path.relative_to(package).with_suffix(""), kind, model)]


def _decides(module: Path, kind: str, model: str) -> bool:
    """Not another model, nor what has the other kind's name; what that alone imports is counted in."""
    if module.parts[0] in BESIDE or module.as_posix() in LATER or {module.name, kind} == {"image", "text"}:
        return False
    return module.parts[0] != "models" or module.name == model or module.name.startswith("_")


def _data(task: Task) -> list[Path]:
    """The rows, and the user's files that the stages read."""
    validated = artifacts.folder("validated", task.name)
    if not (validated / "summary.json").is_file():
        raise DataError(f"{validated}: found no validated rows; expected some; run stage validate first")
    found = [*parts.files(validated / "accepted"), validated / "neighbours.parquet", validated / "summary.json"]
    if task.kind == "text":
        named = task.of_kind("features", "features")[1]
        vectors = [Path(named.vectors.file)] if named.vectors.file else []
        found += [path for path in [*sorted(Path("dictionaries").glob("*")), *vectors] if path.is_file()]
    return found
