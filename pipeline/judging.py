"""What a variant loses out of fold: its recipe followed anew in every fold of cross-validation, where all rows judge.

Folds and answers lie in .danlu/judging/<task>-<fingerprint>/, safe to delete: a killed run goes on after the folds that
have ended. N examples of all folds' test parts, O outputs.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts, budget, folds, metrics, weighing
from pipeline.config import Task
from pipeline.errors import StoppedError
from pipeline.folding import answering
from pipeline.folding.compressed import Recipe
from pipeline.gate import OutOfFold
from pipeline.weighing import Config, Judge, Work

LIBRARIES = ("onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu", "openvino", "nncf", "torch-pruning")
CODE = (
    *("compression/*", "engines/*", "pruning/*", "fit/fake_int8", "folding/compressed", "export", "graphs"),
    *("inference", "reloading", "rowwise", "shapes", "shrinking", "variants"),
)
"""Modules that decide a variant's answers, beside those that decide a fold's."""
WORKPLACE = "fold-"
Stop = Callable[[], bool]


def require(task: Task, settings: Config) -> None:
    """Raises: ConfigError where folds are to judge and there are none, or what they train has seen all of them;
    DataError for rows that cannot be divided.
    """
    if settings.budget.judge == "folds":
        wanted = task.section("crossvalidate", folds.Config)
        folds.require_judges(wanted, settings.budget.judge, task.where)
        answering.settled(task, wanted)
        folds.drawn(folds.read(task), wanted, str(artifacts.folder("validated", task.name)))


def of(work: Work, stop: Stop, levels: Sequence[Mapping[str, Any]] = (), *, distilled: bool = False) -> Judge | None:
    """None where validation alone judges. levels: of the smaller networks, as compress.json has them."""
    if work.settings.budget.judge != "folds":
        return None
    return lambda name: judged(work, recipe(work, name, levels, distilled=distilled), stop)


def recipe(work: Work, name: str, levels: Sequence[Mapping[str, Any]], *, distilled: bool) -> Recipe:
    """How a variant was made."""
    one = work.variants[name]
    written = work.written.get(name.partition("@")[0])  # another engine has the same file
    base = one.network.removesuffix("_for_int8")
    cut: Mapping[str, Sequence[int]] = next((row["cut"] for row in levels if row["name"] == one.network), {})
    return Recipe(
        candidate=work.source.name,
        network="cut" if cut else base if base == one.network else "trained",
        cut=cut,
        for_int8=base != one.network,
        distilled=distilled and (one.network, one.reference) != ("trained", "trained"),
        reference=one.reference,
        scheme=one.scheme,
        method=written.method if written else "",
        fp32=written.fp32 if written else (),
        engine=one.engine,
    )


def judged(work: Work, recipe: Recipe, stop: Stop) -> OutOfFold | str:
    """What a recipe loses in the folds, or why it cannot be followed there.

    Raises: ConfigError, DataError for what cannot be folded; TrainingError, StoppedError.
    """
    found: list[dict[str, np.ndarray]] = []
    for number, one in enumerate(each := collected(work.task, recipe, stop), 1):
        if isinstance(one, str):
            return f"in fold {number} of {len(each)} {one}"
        found.append(one)
    answers = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    truth, target = answers["truth"], work.source.target
    if reason := weighing.unfit(work.wanted, truth, answers["variant"], target):
        return f"out of fold {reason}"
    limits = budget.limits(work.settings.budget, work.headline, truth, target)
    drop, class_drops = weighing.lost(work.wanted, limits, truth, answers["reference"], answers["variant"], target)
    agreement = metrics.of(target.kind).agreement(answers["variant"], answers["trained"], target)
    return OutOfFold(len(truth), drop, class_drops, agreement, limits)


def collected(task: Task, recipe: Recipe, stop: Stop) -> list[dict[str, np.ndarray] | str]:
    """Of each fold the arrays of `compressed.answered`, or why it could not follow the recipe.

    Raises: StoppedError where `stop` says so, ConfigError, DataError, TrainingError.
    """
    if stop():
        raise StoppedError("compress: stopped before the folds judge; run again to go on")
    wanted = task.section("crossvalidate", folds.Config)
    values, train = answering.settled(task, wanted)
    root = (artifacts.STATE / "judging" / f"{task.name}-{fingerprint(task, wanted, values)}").absolute()
    stems = [root / recipe.digest / str(number) for number in range(wanted.folds)]

    def more(number: int) -> dict[str, Any]:
        return {"folder": str(root / f"{WORKPLACE}{number}"), "recipe": asdict(recipe)}

    answering.make(task, wanted, values, train, stems, more, stop, "pipeline.folding.compressed")
    answering.forget_others(root, task)
    return [_read(stem) for stem in stems]


def _read(stem: Path) -> dict[str, np.ndarray] | str:
    failed: str = artifacts.read_json(stem.with_suffix(".json"))["failed"]
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as arrays:
        return failed or dict(arrays)


def fingerprint(task: Task, wanted: folds.Config, values: Mapping[str, Any]) -> str:
    """A hash of all that decides the answers, but the recipe."""
    settings = task.section("compress", Config)
    prune = replace(settings.prune, levels=(), distil="auto")  # the recipe has what came of them
    said = (answering.fingerprint(task, wanted, values), prune, settings.examples, *answering.versions(LIBRARIES))
    digest = hashlib.sha256(repr(said).encode())
    package = Path(__file__).parent
    for path in sorted(path for pattern in CODE for path in package.glob(f"{pattern}.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def forget(task: Task) -> None:
    """Drops the folds' own folders, which were kept to go on with; the answers stay."""
    for place in (artifacts.STATE / "judging").glob(f"{task.name}-{'[0-9a-f]' * 16}/{WORKPLACE}*"):
        shutil.rmtree(place, ignore_errors=True)
