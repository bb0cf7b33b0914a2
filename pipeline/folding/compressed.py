"""One fold in which a variant is made anew: `python -m pipeline.folding.compressed JOB`, JOB being a JSON file.

The fold fits its own network or linear model on its own train part, by refit, goes by the variant's recipe, and
leaves what comes of it: answers to what the fold holds out.
N examples, O outputs.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, inference, prepared, quality, reloading, training, variants, weighing
from pipeline.config import Task
from pipeline.errors import PipelineError, StoppedError
from pipeline.folding import refit

if TYPE_CHECKING:
    from pipeline.graphs import Feed
    from pipeline.shrinking import Shrinking, Shrunk


class UnmadeError(Exception):
    """A fold cannot go by the recipe, which speaks against the variant."""


@dataclass(frozen=True)
class Recipe:
    """How a variant is made of a trained model."""

    candidate: str  # net or baseline
    network: str  # trained, control, sparse or cut
    cut: Mapping[str, Sequence[int]]  # by part: how many are left, of how many
    for_int8: bool
    distilled: bool
    reference: str  # trained or control
    scheme: str
    method: str  # of calibration; empty where there was none
    fp32: tuple[str, ...]  # the graph's nodes that stay so
    engine: str

    @property
    def digest(self) -> str:
        return _digest(asdict(self))


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def answered(task: Task, values: Mapping[str, Any], recipe: Recipe) -> dict[str, np.ndarray]:
    """`truth` of the fold's test part, and the answers [N, O] to it: `trained`, `reference`, `variant`.

    The current folder is the fold's own. Raises: UnmadeError; TrainingError where the fold's own training fails.
    """
    for one in refit.STAGES:
        one.main(task)
    settings = task.section("compress", weighing.Config)
    train, _ = reloading.examples_of(task, recipe.candidate, "train")
    tested, kind = reloading.examples_of(task, recipe.candidate, "test")
    feeds = train.spread(settings.examples)

    first = inference.BY_DEVICE[settings.target.device][0]

    def answers(graph: Path, engine: str) -> np.ndarray:
        from pipeline import graphs

        return graphs.answers(inference.engine(engine).load(graph, 1), tested, kind)

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        if recipe.candidate == "baseline":
            trained, graph = _linear(task, out)
            reference = trained
        else:
            trained = refit.net(task, values)["test"]
            made = _networks(task, values, recipe, feeds, out)
            graph = made["variant"]
            reference = answers(made["control"], first) if "control" in made else trained
        graph = _in_scheme(graph, recipe, feeds, out / "variant.onnx")
        try:
            variant = answers(graph, recipe.engine)
        except Exception as error:  # ONNX Runtime's own have no base of theirs
            raise UnmadeError(f"{recipe.engine} cannot run it: {weighing.line(error)}") from error
    return {"truth": tested.truth, "trained": trained, "reference": reference, "variant": variant}


def _linear(task: Task, out: Path) -> tuple[np.ndarray, Path]:
    """What the fold's linear model answers to the test part, and its graph."""
    from pipeline import export

    fitted, graph = refit.linear(task), out / "fp32.onnx"
    export.linear(fitted.arrays["coefficients"], fitted.arrays["intercept"], graph)
    return np.asarray(fitted.probabilities["test"]), graph


def _networks(
    task: Task, values: Mapping[str, Any], recipe: Recipe, feeds: "Sequence[Feed]", out: Path
) -> dict[str, Path]:
    """The fp32 graph of the recipe's network, and of the control where that is the reference."""
    from pipeline import shrinking
    from pipeline.pruning.channels import UncutError

    artifacts.write_json(artifacts.folder("tuned", task.name) / "values.json", dict(values))
    target = prepared.target(artifacts.folder("prepared", task.name))
    wanted = quality.check(task.section("evaluate", quality.Config), target, f"{task.where}.evaluate")
    prune = task.section("compress", weighing.Config).prune
    prune = replace(prune, distil="on" if recipe.distilled else "off")
    with training.stopping() as stop:
        at = shrinking.begin(task, prune, wanted, stop=stop)
        try:
            found = {"control": at.control(out).graph} if recipe.reference == "control" else {}
            return found | {"variant": _network(at, recipe, feeds, out).graph}
        except StoppedError:
            raise
        except (UncutError, PipelineError) as error:
            raise UnmadeError(f"its network cannot be made: {weighing.line(error)}") from error


def _network(at: "Shrinking", recipe: Recipe, feeds: "Sequence[Feed]", out: Path) -> "Shrunk":
    from pipeline.pruning import networks

    left = _left(at, recipe)
    name = f"cut_{_digest(left)}" if left else "trained"
    if recipe.for_int8:
        name += "_for_int8"
        return at.export(name, at.held_in_int8(name, left, feeds), out)
    if recipe.network == "control":
        return at.control(out)
    if recipe.network == "sparse":
        assert at.settings.sparse is not None
        return at.sparse(out, at.settings.sparse)
    if recipe.network == "trained":
        return at.export(name, at.subject.trained, out)
    smaller = networks.tuned(name, 0.0, at.subject, left, at.tuner, at.judge, at.distilled)
    return at.export(name, smaller.made, out, smaller)


def _left(at: "Shrinking", recipe: Recipe) -> dict[str, int]:
    """How many are left of each part: as many as in the recipe, of the fold's own vocabulary the same share."""
    from pipeline.pruning.cutting import ROWS, VOCABULARY, Part

    found = {name: left for name, (left, _) in recipe.cut.items()}
    if VOCABULARY in found:
        left, whole = recipe.cut[VOCABULARY]
        assert at.subject.counts is not None
        rows = Part(VOCABULARY, "rows", len(at.subject.counts), ROWS).kept(1 - left / whole)
        found |= {VOCABULARY: rows or 0}
    return {name: left for name, left in found.items() if left}


def _in_scheme(source: Path, recipe: Recipe, feeds: "Sequence[Feed]", target: Path) -> Path:
    """The graph of the recipe's scheme; `source` itself of fp32."""
    if recipe.scheme == "fp32":
        return source
    known = variants.Calibration(feeds, (recipe.method,), lambda _: np.zeros(1))  # one method: nothing to compare
    scheme = recipe.scheme.removesuffix(f"+{variants.MIXED}")
    try:
        found = variants.write(source, target, scheme, known, recipe.fp32)
    except Exception as error:
        raise UnmadeError(f"it cannot be made: {type(error).__name__}: {weighing.line(error)}") from error
    if found is None:
        raise UnmadeError("nothing in its graph has such a form")
    return target


def leave(stem: Path, task: Task, values: Mapping[str, Any], recipe: Recipe) -> None:
    """`stem`.npz with what `answered` gives, or nothing in it where the recipe failed; .json comes last and says so."""
    arrays: dict[str, Any] = {}
    failed = ""
    try:
        arrays |= answered(task, values, recipe)
    except UnmadeError as error:
        failed = str(error)
    with artifacts.whole(stem.with_suffix(".npz")) as building, building.open("wb") as file:
        np.savez(file, **arrays)
    counts = artifacts.read_json(artifacts.folder("prepared", task.name) / "meta.json")["counts"]
    shutil.rmtree(artifacts.DATA)  # checkpoints stay: another recipe of this fold trains no network of its own
    artifacts.write_json(stem.with_suffix(".json"), {"counts": counts, "failed": failed})


def _do(stem: Path, task: Task, job: Mapping[str, Any]) -> None:
    told = job["recipe"]
    leave(stem, task, job["values"], Recipe(**told | {"fp32": tuple(told["fp32"])}))


if __name__ == "__main__":
    refit.work(_do)
