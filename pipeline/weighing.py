"""The graphs of a candidate judged on validation and timed, and one chosen.

N examples, B of a batch, O outputs.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import budget, gate, inference, latency, metrics, profiling, quality
from pipeline import variants as schemes
from pipeline.budget import Budget, Device, Limits
from pipeline.config import Task, setting
from pipeline.gate import OutOfFold, Variant
from pipeline.metrics import Interval
from pipeline.pruning.settings import Prune
from pipeline.targets import Target

if TYPE_CHECKING:
    from pipeline.graphs import Examples, Feed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    budget: Budget = Budget()
    target: Device = Device()
    prune: Prune = Prune()
    schemes: tuple[str, ...] = ("auto",)  # auto: those that suit the graph; else files of compression/, joined by +
    engines: tuple[str, ...] = ("auto",)  # auto: ONNX Runtime, and what else of engines/ is installed for the device
    calibration: Literal["best", "minmax", "entropy", "percentile"] = "best"  # best: nearest to fp32 on validation
    examples: int = setting(256, low=8, high=100_000, unit="training examples for calibration")
    int8_training: Literal["auto", "off"] = "auto"  # auto: fine-tuning for int8 where static int8 misses the budget
    min_speedup: float = setting(1.2, low=0, high=100, unit="times faster than the fp32 graph, for any other variant")

    def __post_init__(self) -> None:
        for name, found in (("schemes", self.schemes), ("engines", self.engines)):
            if not found or len(set(found)) < len(found):
                raise ValueError(f"{name}: found {list(found)}; expected different ones, or [auto]")


@dataclass(frozen=True)
class Source:
    """What is compressed: a trained model's own answers, and the examples that calibrate and judge it."""

    name: str  # of the candidate: net or baseline
    eager: Callable[["Feed"], np.ndarray]  # a batch → outputs [B, O] in PyTorch
    eager_bytes: int
    train: "Examples"
    validation: "Examples"
    target: Target
    linear: bool = False
    compiled: Mapping[str, Callable[["Feed"], np.ndarray]] = field(default_factory=dict)  # in 16 bits, by variant


@dataclass(frozen=True)
class Made:
    """A network to put into graphs."""

    name: str  # trained, control, pruned_1, …
    numbers: int
    graph: Path  # fp32
    reference: str  # trained or control: whose quality it is to keep


@dataclass
class Work:
    """One candidate on its way through the stage."""

    task: Task
    source: Source
    settings: Config
    wanted: quality.Config
    out: Path
    limits: Limits
    engines: list[str]  # the first is what others are held to
    variants: dict[str, Variant] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    answers: dict[str, np.ndarray] = field(default_factory=dict)  # of each variant to validation
    written: dict[str, schemes.Graph] = field(default_factory=dict)  # how each graph was, but fp32
    notes: dict[str, str] = field(default_factory=dict)
    left: list[dict[str, str]] = field(default_factory=list)

    @property
    def headline(self) -> str:
        return self.wanted.headline

    def asked(self, graph: Path, engine: str | None = None) -> np.ndarray:
        """What a graph answers to validation, here. engine: the first, where none is named."""
        from pipeline import graphs

        answer = inference.engine(engine or self.engines[0]).load(graph, 1)
        return graphs.answers(answer, self.source.validation, self.source.target.kind)

    def add(self, made: Made, scheme: str, graph: Path, answers: np.ndarray, engine: str | None = None) -> str:
        """Takes a graph in; returns the variant's name."""
        name = scheme if made.name == "trained" else f"{made.name}-{scheme}"
        name += f"@{engine}" if engine else ""
        size, numbers = graph.stat().st_size, made.numbers
        self.judge(name, made, scheme, engine or self.engines[0], size, answers)
        self.variants[name].rejected = gate.faults(graph, schemes.stored(scheme), numbers)
        self.files[name] = graph
        return name

    def judge(self, name: str, made: Made, scheme: str, engine: str, size: int, answers: np.ndarray) -> None:
        """Takes a variant's answers in, and what is lost by them."""
        truth, target = self.source.validation.truth, self.source.target
        self.variants[name] = Variant(
            network=made.name,
            scheme=scheme,
            engine=engine,
            bytes=size,
            numbers=made.numbers,
            validation=quality.figures(self.wanted, truth, answers, target),
            agreement=metrics.of(target.kind).agreement(answers, self.answers["eager"], target),
            reference=made.reference,
        )
        self.answers[name] = answers
        self.compare(name)

    def compare(self, name: str) -> None:
        """Measures what a variant loses against its reference, on the same resamples."""
        one, source = self.variants[name], self.source
        before = self.answers["control-fp32" if one.reference == "control" else "eager"]
        one.drop, one.class_drops = lost(
            self.wanted, self.limits, source.validation.truth, before, self.answers[name], source.target
        )

    def keeps(self, name: str) -> bool:
        """Whether a variant is there, and within the budget of quality."""
        return name in self.variants and not gate.keeps(self.variants[name], self.limits, self.headline)

    def unfit(self, answers: np.ndarray) -> str:
        """Why answers to validation cannot be judged at all, or nothing."""
        return unfit(self.wanted, self.source.validation.truth, answers, self.source.target)

    def leave(self, name: str, reason: str, graph: Path) -> None:
        """Names what is no variant, and takes its file away."""
        self.left.append({"name": name, "reason": reason})
        graph.unlink(missing_ok=True)


def lost(
    wanted: quality.Config, limits: Limits, truth: np.ndarray, before: np.ndarray, after: np.ndarray, target: Target
) -> tuple[Interval, dict[str, Interval]]:
    """The drops of the headline and of each judged class's recall from one's answers [N, O] to another's, in pairs."""
    measured = {wanted.headline: wanted.headline} | {name: f"recall/{name}" for name in limits.class_drops}
    metric_names, seed, resamples = list(measured.values()), wanted.seed, wanted.resamples
    gains = metrics.paired_gains(
        truth, before, after, metric_names, target, seed=seed, resamples=resamples, level=limits.level
    )
    drops = {key: Interval(0 - gain.value, 0 - gain.high, 0 - gain.low) for key, gain in gains.items()}
    return drops[wanted.headline], {key: drops[name] for key, name in measured.items() if key != wanted.headline}


def unfit(wanted: quality.Config, truth: np.ndarray, answers: np.ndarray, target: Target) -> str:
    """Why answers [N, O] cannot be judged at all, or nothing."""
    if not np.isfinite(answers).all():
        return "an answer is not a finite number"
    if wanted.headline not in quality.figures(wanted, truth, answers, target):
        return f"its answers are so alike that {wanted.headline} is not defined"
    return ""


def begin(task: Task, source: Source, settings: Config, wanted: quality.Config, out: Path) -> Work:
    """The work with the trained model's eager answers, which all others are held to."""
    from pipeline import graphs

    truth, target = source.validation.truth, source.target
    limits = budget.limits(settings.budget, wanted.headline, truth, target)
    engines = inference.engines(settings.engines, settings.target.device, f"{task.where}.compress.engines")
    work = Work(task, source, settings, wanted, out, limits, engines)
    answers = graphs.answers(source.eager, source.validation, target.kind)
    work.answers["eager"] = answers
    figures = quality.figures(wanted, truth, answers, target)
    work.variants["eager"] = Variant("trained", "fp32", "pytorch", source.eager_bytes, 0, figures, 1.0, "trained")
    compile_in_16_bits(work)
    return work


def compile_in_16_bits(work: Work) -> None:
    """Adds what PyTorch makes of the trained network on a GPU, which is told and never served."""
    from pipeline import graphs

    source = work.source
    for name, call in source.compiled.items():
        scheme = name.removeprefix("torch_")
        try:
            answers = graphs.answers(call, source.validation, source.target.kind)
        except RuntimeError as error:
            work.left.append({"name": name, "reason": f"PyTorch cannot compile it: {line(error)}"})
            continue
        if not np.isfinite(answers).all():
            work.left.append({"name": name, "reason": f"in {scheme} an answer is not a finite number"})
            continue
        work.judge(name, Made("trained", 0, work.out, "trained"), scheme, "pytorch", source.eager_bytes, answers)


def line(error: Exception) -> str:
    """What it says, on one line."""
    return " ".join(str(error).split())[:200]


Judge = Callable[[str], OutOfFold | str]
"""What a variant loses in the folds, by its name, or why it cannot be made there."""


def finish(work: Work, profiles: Path, judge: Judge | None = None) -> dict[str, Any]:
    """The choice among all variants: the entry of compress.json. judge: asked about what validation would choose.

    Raises: BudgetError where none keeps what the budget asks for; what `judge` raises.
    """
    settings, source = work.settings, work.source
    device, known = settings.target, work.variants
    sound = {name: (known[name].engine, path) for name, path in work.files.items() if not known[name].rejected}
    torch_calls = {"eager": source.eager} | {name: call for name, call in source.compiled.items() if name in known}
    taken = profiling.profile(torch_calls, source.validation, sound, device, profiles)
    for name, found in taken.items():
        work.variants[name].latency_ms = found
    batch = device.batch_sizes[0]
    gate.reject(work.variants, work.limits, work.headline, settings.min_speedup, batch)
    gate.mark_pareto(work.variants, work.headline, batch)
    for name, one in sorted(work.variants.items(), key=lambda item: item[1].bytes):
        log.info("%s: %s bytes, %s", name, f"{one.bytes:,}", "; ".join(one.rejected) or "nothing speaks against it")
    chosen = _choice(work, batch, judge)
    one, median = work.variants[chosen], {n: v.median(batch) for n, v in work.variants.items() if v.latency_ms}
    drop, limits, examples = one.drop, work.limits, len(source.validation)
    if one.out_of_fold:
        drop, limits, examples = one.out_of_fold.drop, one.out_of_fold.limits, one.out_of_fold.examples
    by = "folds" if one.out_of_fold else "validation"
    return {
        "budget": asdict(work.limits) | {"min_speedup": settings.min_speedup},
        "target": asdict(device) | {"processor": latency.processor()},
        "judged": {"by": by, "examples": examples, "classes": list(limits.class_drops)},
        "variants": {name: asdict(variant) for name, variant in work.variants.items()},
        "notes": {name: note for name, note in work.notes.items() if note},
        "chosen": chosen,
        "network": one.network,
        "scheme": one.scheme,
        "engine": one.engine,
        "graph": work.files[chosen].name,
        "reason": gate.reason(work.variants, chosen, work.headline, work.limits, batch),
        "speedup": {"vs_eager": median["eager"] / median[chosen], "vs_onnx_fp32": median["fp32"] / median[chosen]},
        "drop": asdict(drop) if drop else None,
        "max_drop": limits.max_drop,
        "needed_examples": gate.needed(drop, limits, examples),
        "left": work.left,
        "sensitivity": None,
        "levels": [],
    }


def _choice(work: Work, batch: int, judge: Judge | None) -> str:
    """The smallest variant that keeps the budget on validation, and where there is a `judge`, in the folds too."""
    while True:
        name = gate.choose(work.variants, work.limits, batch)
        one = work.variants[name]
        if judge is None or one.lossless or one.out_of_fold:
            return name
        found = judge(name)
        if isinstance(found, str):
            one.rejected.append(found)
        else:
            one.out_of_fold = found
            one.rejected += gate.keeps(found, found.limits, work.headline, found.among)
        log.info("%s in the folds: %s", name, "; ".join(one.rejected) or "nothing speaks against it")


def keep(work: Work, entry: Mapping[str, Any]) -> None:
    """Leaves in the stage's folder the graphs that are served, fp32, or on the Pareto front; the others go."""
    front = {name for name, one in work.variants.items() if one.pareto and not one.rejected}
    kept = {path for name, path in work.files.items() if name in front | {"fp32", entry["chosen"]}}
    for path in set(work.files.values()) - kept:
        path.unlink(missing_ok=True)
