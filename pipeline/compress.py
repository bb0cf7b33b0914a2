"""Stage compress: the smallest variant of the network, and of the linear text model, that keeps the budget.

Networks: as trained, with parts removed and fine-tuned, and a control that was trained as long. Each becomes a graph
in several schemes. Every choice reads validation; latencies are measured at the end, with nothing else running, and
kept in `.danlu/profiles` by the graphs' bytes and the host's CPU, so that a killed and repeated run chooses alike.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, inference, making, prepared, quality, reloading, stage, weighing
from pipeline import variants as schemes
from pipeline.config import Task
from pipeline.errors import BudgetError
from pipeline.weighing import Config, Made, Source, Work

if TYPE_CHECKING:
    from pipeline.shrinking import Shrunk

__all__ = ["Config", "main"]
log = logging.getLogger(__name__)


def of_linear(
    task: Task, settings: Config, wanted: quality.Config, out: Path, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """The linear model over terms of data/baseline. Raises: StoppedError where `stop` says so while folds judge."""
    from pipeline import judging

    source, numbers = linear_source(task, out, settings.target.device)
    work = weighing.begin(task, source, settings, wanted, out)
    made = Made("trained", numbers, out / "fp32.onnx", "trained")
    making.put_into_graphs(work, made, making.calibration(work))
    making.put_into_engines(work)
    making.reload(work)
    entry = weighing.finish(work, artifacts.STATE / "profiles", judging.of(work, stop))
    weighing.keep(work, entry)
    return entry


def of_net(
    task: Task, settings: Config, wanted: quality.Config, out: Path, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """The trained network of data/models, its smaller ones and the control.

    Raises: StoppedError where `stop` says so while one is trained.
    """
    from pipeline import judging, shrinking

    at = shrinking.begin(task, settings.prune, wanted, settings.target, stop)
    source = net_source(task, at.subject.trained, at.data, settings.target.device)
    work = weighing.begin(task, source, settings, wanted, out)
    known = making.calibration(work)
    trained = at.export("trained", at.subject.trained, out)
    making.put_into_graphs(work, Made("trained", trained.numbers, trained.graph, "trained"), known)
    made: dict[str, Shrunk] = {}

    def take(one: "Shrunk") -> None:
        made[one.name] = one
        making.put_into_graphs(work, Made(one.name, one.numbers, one.graph, _reference(work, one.name)), known)

    for one in at.networks(out, lambda shrunk: work.keeps(f"{shrunk.name}-fp32")):
        take(one)
        if one.name != "control" and _misses_int8(work, one.name):
            take(at.for_int8(one, known.feeds, out))
    if settings.prune.on and _misses_int8(work, "trained"):
        if "control" not in made:
            take(at.control(out))
        take(at.for_int8(trained, known.feeds, out))
    making.put_into_engines(work)
    making.reload(work)
    told = at.told(made)
    judge = judging.of(work, stop, told["levels"], distilled=at.distilled)
    entry = weighing.finish(work, artifacts.STATE / "profiles", judge) | told
    entry["left"] += [{"name": name, "reason": reason} for name, reason in at.left.items()]
    weighing.keep(work, entry)
    at.save(out, entry["network"], made)
    return entry


def _misses_int8(work: Work, name: str) -> bool:
    """Whether a network keeps the budget of quality until its values are held in int8, and is to be trained for it."""
    if work.settings.int8_training == "off":
        return False
    prefix = "" if name == "trained" else f"{name}-"
    int8 = f"{prefix}{schemes.STATIC}"
    return int8 in work.variants and work.keeps(f"{prefix}fp32") and not work.keeps(int8)


def _reference(work: Work, name: str) -> str:
    """The control of what was trained on, or the trained network where that is better: the stricter of the two."""
    if name == "control" or "control-fp32" not in work.variants:
        return "trained"
    better = {name: work.variants[key].validation[work.headline] for name, key in _JUDGES.items()}
    return quality.chosen(better, work.headline)


_JUDGES = {"control": "control-fp32", "trained": "fp32"}


def net_source(task: Task, trained: Any, data: Any, device: str) -> Source:
    """The trained network as it answers in PyTorch."""
    from pipeline import eager, graphs

    kind = data.target.kind
    train, validation = (graphs.of_net(split, data.inputs, kind) for split in (data.train, data.validation))
    size = (artifacts.folder("models", task.name) / "weights.safetensors").stat().st_size
    answer, compiled = eager.answering(trained.net, device), eager.in_16_bits(trained.net, device)
    return Source("net", answer, size, train, validation, data.target, compiled=compiled)


def linear_source(task: Task, out: Path, device: str = "cpu") -> tuple[Source, int]:
    """The linear model of data/baseline, written into `out`, and its weights; eagerly it is an embedding bag."""
    from pipeline import eager, export

    baseline = artifacts.folder("baseline", task.name)
    with np.load(baseline / "weights.npz") as arrays:
        coefficients, intercept = arrays["coefficients"], arrays["intercept"]
    export.linear(coefficients, intercept, out / "fp32.onnx")
    net = eager.OfTerms(coefficients, intercept)
    (train, _), (validation, _) = (reloading.examples_of(task, "baseline", split) for split in ("train", "validation"))

    size = (baseline / "weights.npz").stat().st_size
    target = prepared.target(artifacts.folder("prepared", task.name))
    answer, compiled = eager.answering(net, device), eager.in_16_bits(net, device)
    return Source("baseline", answer, size, train, validation, target, True, compiled), net.rows.numel()


def main(task: Task) -> None:
    from pipeline import eager, judging, shrinking, training
    from pipeline.tracking.runs import Run

    settings = task.section("compress", Config)
    schemes.check(settings.schemes, f"{task.where}.compress.schemes")
    inference.engines(settings.engines, settings.target.device, f"{task.where}.compress.engines")
    eager.require(settings.target.device, f"{task.where}.compress.target.device")
    judging.require(task, settings)
    target = prepared.target(artifacts.folder("prepared", task.name))
    wanted = quality.check(task.section("evaluate", quality.Config), target, f"{task.where}.evaluate")
    candidates: dict[str, Callable[[Path], dict[str, Any]]] = {
        "net": lambda out: of_net(task, settings, wanted, out, stop)
    }
    if task.kind == "text":
        candidates["baseline"] = lambda out: of_linear(task, settings, wanted, out, stop)
    with (
        training.stopping() as stop,
        Run(task.name, "compress", asdict(settings), live=False) as run,
        artifacts.fresh(artifacts.folder("compressed", task.name)) as out,
    ):
        entries = _each(candidates, out)
        artifacts.write_json(out / "compress.json", {"candidates": entries, "headline": wanted.headline})
        run.log(0, points(entries, wanted.headline))
        run.artifact(out / "compress.json")
    for kept in (shrinking, judging):
        kept.forget(task)  # not before all is written, since a repeated run goes on with it


def _each(candidates: Mapping[str, Callable[[Path], dict[str, Any]]], out: Path) -> dict[str, Any]:
    """The entries of the candidates that keep the budget; the others are not served.

    Raises: BudgetError where none does.
    """
    entries, errors = {}, []
    for name, work in candidates.items():
        (out / name).mkdir()
        try:
            entries[name] = work(out / name)
        except BudgetError as error:
            errors.append(error)
            log.warning("%s is not served: %s", name, error)
            shutil.rmtree(out / name)
            continue
        log.info("%s: %s", name, entries[name]["reason"])
    if not entries:
        raise errors[0]
    return entries


def points(entries: Mapping[str, Mapping[str, Any]], headline: str) -> dict[str, float]:
    """The figures of every variant, for the tracker."""
    found: dict[str, float] = {}
    for name, entry in entries.items():
        found |= {f"{name}/speedup_{key}": value for key, value in entry["speedup"].items()}
        for variant, figures in entry["variants"].items():
            at = f"{name}/{variant.replace('+', '-').replace('@', '-')}"
            found |= {f"{at}/bytes": float(figures["bytes"]), f"{at}/{headline}": figures["validation"][headline]}
            found |= {f"{at}/pareto": float(figures["pareto"]), f"{at}/passes": float(not figures["rejected"])}
            found |= {f"{at}/{key}": float(figures[key]) for key in ("agreement", "memory") if figures[key] is not None}
            if figures["drop"]:
                found[f"{at}/drop"] = figures["drop"]["value"]
            if figures["out_of_fold"]:
                found[f"{at}/drop_out_of_fold"] = figures["out_of_fold"]["drop"]["value"]
            for batch, taken in figures["latency_ms"].items():
                found |= {f"{at}/latency_ms_{key}_batch_{batch}": value for key, value in taken.items()}
    return found


if __name__ == "__main__":
    stage.run("compress", main)
