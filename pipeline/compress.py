"""Stage compress: the network and the linear text model as fp32 and int8 graphs, each measured, one of them chosen.

Size, latency at batch 1 and validation quality decide; the test split is not read here. Latencies are kept in
`.danlu/profiles` by the graphs' bytes and the host's CPU, so that a killed and repeated run chooses alike.
N examples, O outputs.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import artifacts, config, latency, metrics, prepared, quality, stage
from pipeline.config import Task, setting
from pipeline.targets import Target

if TYPE_CHECKING:
    from pipeline.graphs import Examples, Feed

log = logging.getLogger(__name__)
RANGING = ("LSTM", "GRU", "RNN", "Softmax")
"""Operators of recurrent networks and of attention, whose ranges differ so from text to text that int8 measures them
at every call: of a BERT of 4 layers this was 2.5 times as fast as fp32, by ranges of calibration 2.1 times, with four
times the error.
"""
FEW, MANY = 0.02, 0.01
"""The default budget below and from `LARGE` validation examples: with few, one point is within the noise."""
LARGE = 1500
TIMED = 200
"""Validation examples on which latency is measured."""


@dataclass(frozen=True)
class Budget:
    max_drop: float | None = setting(
        None,
        low=0,
        high=1,
        unit="of the headline on validation, for mae and rmse in standard deviations of the value; null: 0.01 from "
        "1,500 validation examples, else 0.02",
    )


@dataclass(frozen=True)
class Config:
    budget: Budget = Budget()
    scheme: Literal["auto", "static_int8", "dynamic_int8"] = "auto"  # auto: dynamic for recurrence and attention
    calibration: Literal["best", "minmax", "entropy", "percentile"] = "best"  # best: nearest to fp32 on validation
    examples: int = setting(256, low=1, high=100_000, unit="training examples for calibration")
    min_speedup: float = setting(1.2, low=0, high=100, unit="times faster than the fp32 graph")
    threads: int = setting(1, low=1, high=256, unit="CPU threads while latency is measured")
    rounds: int = setting(100, low=100, high=100_000, unit="turns of each variant while latency is measured")


@dataclass(frozen=True)
class Source:
    """A trained model to compress: its fp32 graph, its own answers, and the examples that judge it."""

    graph: Path
    eager: Callable[["Feed"], np.ndarray]  # a batch → outputs [B, O] in PyTorch
    eager_bytes: int
    train: "Examples"
    validation: "Examples"
    target: Target
    ranging: bool = False  # recurrent, or with attention
    linear: bool = False


def max_drop(settings: Config, examples: int) -> float:
    """The drop of the headline that is allowed with so many validation examples."""
    if settings.budget.max_drop is not None:
        return settings.budget.max_drop
    return MANY if examples >= LARGE else FEW


def compress(source: Source, out: Path, settings: Config, wanted: quality.Config, profiles: Path) -> dict[str, Any]:
    """Writes `int8.onnx` into `out`, measures every variant and says which one to serve.

    Returns variants, chosen, reason, speedup, max_drop, drop, scheme: the entry of compress.json.
    """
    from pipeline import graphs

    truth, target = source.validation.truth, source.target
    answers = {"eager": graphs.answers(source.eager, source.validation, target.kind)}
    answers["fp32"] = _answers(source.graph, source)
    scheme, why_not = _int8(source, out / "int8.onnx", settings, answers)
    files = {"fp32": source.graph} | ({} if why_not else {"int8": out / "int8.onnx"})
    taken = profile(source, files, settings, profiles)
    variants = {
        name: {
            "bytes": files[name].stat().st_size if name in files else source.eager_bytes,
            "latency_ms": taken[name],
            "validation": quality.figures(wanted, truth, given, target),
            "agreement": metrics.of(target.kind).agreement(given, answers["eager"], target),
        }
        for name, given in answers.items()
    }
    allowed = max_drop(settings, len(truth)) * (target.std if wanted.headline in metrics.IN_UNITS else 1)
    entry: dict[str, Any] = {"variants": variants, "max_drop": allowed, "scheme": scheme, "drop": None}
    if why_not:
        chosen, reason = "fp32", f"fp32: {why_not}"
    else:
        gained = quality.gain(wanted, truth, answers["fp32"], answers["int8"], target)
        entry["drop"] = {"value": -gained.value, "low": -gained.high, "high": -gained.low}
        chosen, reason = choose(variants, -gained.value, allowed, settings.min_speedup, wanted.headline)
    return entry | {"chosen": chosen, "reason": reason, "speedup": _speedup(variants, chosen)}


def choose(
    variants: Mapping[str, Mapping[str, Any]], drop: float, allowed: float, min_speedup: float, headline: str
) -> tuple[str, str]:
    """int8 where it is smaller, fast enough and within the budget, otherwise fp32; and the reason in words."""
    fp32, int8 = variants["fp32"], variants["int8"]
    smaller = fp32["bytes"] / int8["bytes"]
    faster = fp32["latency_ms"]["median"] / int8["latency_ms"]["median"]
    lower, higher = ("lower", "higher") if metrics.sign(headline) > 0 else ("higher", "lower")
    facts = (
        f"{smaller:.1f}× smaller and {faster:.2f}× as fast as fp32, "
        f"{headline} {abs(drop):.4f} {lower if drop > 0 else higher} on validation"
    )
    against = []
    if smaller <= 1:
        against.append("it must be smaller")
    if faster < min_speedup:
        against.append(f"it must be at least {min_speedup:g}× as fast")
    if drop > allowed:
        against.append(f"it may be at most {allowed:g} {lower}")
    if against:
        return "fp32", f"fp32: int8 is {facts}; {' and '.join(against)}"
    return "int8", f"int8: {facts}; at most {allowed:g} {lower} was allowed"


def profile(source: Source, files: Mapping[str, Path], settings: Config, profiles: Path) -> dict[str, dict[str, float]]:
    """The latency of every variant in milliseconds, from an earlier run on this host where the graphs are the same."""
    import torch

    from pipeline import graphs

    digest = hashlib.sha256(f"{latency.processor()} {settings.threads} {settings.rounds}".encode())
    for name, path in sorted(files.items()):
        digest.update(name.encode() + path.read_bytes())
    kept = profiles / f"{digest.hexdigest()[:32]}.json"
    if kept.is_file():
        found: dict[str, dict[str, float]] = artifacts.read_json(kept)
        return found
    calls = {"eager": source.eager}
    calls |= {name: graphs.answer(graphs.session(path, settings.threads)) for name, path in files.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        # On one thread the thread's own CPU time is what a quiet core needs, however busy this host is.
        clock = time.thread_time if settings.threads == 1 else time.perf_counter
        measured = latency.measure(calls, source.validation.spread(TIMED), settings.rounds, clock)
    finally:
        torch.set_num_threads(threads)
    found = {name: asdict(value) for name, value in measured.items()}
    artifacts.write_json(kept, found)
    return found


def _int8(source: Source, target: Path, settings: Config, answers: dict[str, np.ndarray]) -> tuple[str, str]:
    """Writes the int8 graph and adds its answers; returns the scheme and, where there is no such graph, why."""
    from pipeline import graphs

    scheme: str = settings.scheme
    if source.linear:
        scheme = "dynamic_int8"  # a sum over terms has no activation whose range would need fixing
    elif scheme == "auto":
        scheme = "dynamic_int8" if source.ranging else "static_int8"
    module = config.plugin("compression", scheme, "compress.scheme")
    if scheme == "dynamic_int8":
        module.compress(source.graph, target, module.Config(), [])
        answers["int8"] = _answers(target, source)
    else:
        scheme += ", " + _calibrate(source, target, settings, answers, module)
    if not graphs.quantised(target):
        del answers["int8"]
        target.unlink()
        return scheme, "no operator of this graph has an int8 form"
    return scheme, ""


def _calibrate(source: Source, target: Path, settings: Config, answers: dict[str, np.ndarray], module: Any) -> str:
    """Tries the calibration methods and keeps the graph whose validation answers are nearest to fp32's."""
    methods = ("minmax", "percentile", "entropy") if settings.calibration == "best" else (settings.calibration,)
    feeds = source.train.spread(settings.examples)
    found: dict[str, tuple[float, np.ndarray, bytes]] = {}
    for method in methods:
        module.compress(source.graph, target, module.Config(method), feeds)
        given = _answers(target, source)
        away = float(np.abs(given - answers["fp32"]).mean())
        found[method] = (away, given, target.read_bytes())
        log.info("int8 calibrated by %s: answers %.5f away from fp32", method, away)
    best = min(found, key=lambda method: found[method][0])
    answers["int8"] = found[best][1]
    target.write_bytes(found[best][2])
    return best


def _answers(graph: Path, source: Source) -> np.ndarray:
    from pipeline import graphs

    return graphs.answers(graphs.answer(graphs.session(graph)), source.validation, source.target.kind)


def _speedup(variants: Mapping[str, Any], chosen: str) -> dict[str, float]:
    """How many times faster the chosen variant is."""
    median = {name: variant["latency_ms"]["median"] for name, variant in variants.items()}
    return {"vs_eager": median["eager"] / median[chosen], "vs_onnx_fp32": median["fp32"] / median[chosen]}


def net_source(task: Task, out: Path) -> Source:
    """The trained network of data/models, exported into `out`."""
    import torch

    from pipeline import export, graphs, network

    models = artifacts.folder("models", task.name)
    loaded = network.load(models)
    graph = out / "fp32.onnx"
    export.export(loaded.net, loaded.inputs, graph)
    kind = loaded.target.kind
    train, validation = (graphs.of_net(_load(task, split), loaded.inputs, kind) for split in ("train", "validation"))

    def eager(feed: "Feed") -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = loaded.net(torch.from_numpy(next(iter(feed.values())))).numpy()
        return logits

    ranging = not graphs.operators(graph).keys().isdisjoint(RANGING)
    size = (models / "weights.safetensors").stat().st_size
    return Source(graph, eager, size, train, validation, loaded.target, ranging=ranging)


def linear_source(task: Task, out: Path) -> Source:
    """The linear model over terms of data/baseline, written into `out`; eagerly it is an embedding bag."""
    import torch
    from torch.nn import functional

    from pipeline import export, graphs

    baseline, features = artifacts.folder("baseline", task.name), artifacts.folder("features", task.name)
    with np.load(baseline / "weights.npz") as arrays:
        coefficients, intercept = arrays["coefficients"], arrays["intercept"]
    export.linear(coefficients, intercept, out / "fp32.onnx")
    padded = np.concatenate([coefficients.T, np.zeros((1, len(intercept)), np.float32)])
    rows, shift = torch.from_numpy(padded), torch.from_numpy(intercept)
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    found = reader.weights(artifacts.folder("prepared", task.name), features, ("train", "validation"))
    folder = artifacts.folder("prepared", task.name)
    truth = {split: prepared.truth(folder, split) for split in found}
    train, validation = (
        graphs.of_terms(weights, truth[split][reader.counting(features, split, len(truth[split]))])
        for split, weights in found.items()
    )

    def eager(feed: "Feed") -> np.ndarray:
        terms, weights = torch.from_numpy(feed["terms"]), torch.from_numpy(feed["weights"])
        with torch.inference_mode():
            return (functional.embedding_bag(terms, rows, per_sample_weights=weights, mode="sum") + shift).numpy()

    size = (baseline / "weights.npz").stat().st_size
    return Source(out / "fp32.onnx", eager, size, train, validation, prepared.target(folder), linear=True)


def _load(task: Task, split: str) -> Any:
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    return reader.load(artifacts.folder("prepared", task.name), artifacts.folder("features", task.name), split)


def main(task: Task) -> None:
    from pipeline.tracking.runs import Run

    settings = task.section("compress", Config)
    target = prepared.target(artifacts.folder("prepared", task.name))
    wanted = quality.check(task.section("evaluate", quality.Config), target, f"{task.where}.evaluate")
    sources = {"net": net_source} | ({"baseline": linear_source} if task.kind == "text" else {})
    with (
        Run(task.name, "compress", asdict(settings), live=False) as run,
        artifacts.fresh(artifacts.folder("compressed", task.name)) as out,
    ):
        entries = {}
        for name, load in sources.items():
            (out / name).mkdir()
            source = load(task, out / name)
            entries[name] = compress(source, out / name, settings, wanted, artifacts.STATE / "profiles")
            log.info("%s: %s", name, entries[name]["reason"])
        artifacts.write_json(out / "compress.json", {"candidates": entries, "headline": wanted.headline})
        taken = {name: {k: v["latency_ms"] for k, v in entry["variants"].items()} for name, entry in entries.items()}
        artifacts.write_json(out / "profile.json", {"processor": latency.processor(), "latency_ms": taken})
        run.log(0, _points(entries))
        run.artifact(out / "compress.json")


def _points(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The figures of every variant, for the tracker."""
    points: dict[str, float] = {}
    for name, entry in entries.items():
        points |= {f"{name}/speedup_{key}": value for key, value in entry["speedup"].items()}
        for variant, figures in entry["variants"].items():
            points[f"{name}/{variant}/bytes"] = float(figures["bytes"])
            points[f"{name}/{variant}/latency_ms"] = figures["latency_ms"]["median"]
    return points


if __name__ == "__main__":
    stage.run("compress", main)
