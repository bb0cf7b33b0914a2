"""Stage evaluate: every candidate on the test split with intervals; the one to register, chosen on validation.

A candidate is measured as `trained` (PyTorch, or the fitted baseline), as `control` (trained on as long as what
compression tuned, with nothing removed) and as `compressed` (the chosen ONNX graph). Where compression trained
nothing, the control is the trained model itself and shares its figures.
N examples, O outputs.
"""

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, config, inference, metrics, prepared, quality, stage, targets
from pipeline.config import Task
from pipeline.quality import Config, chosen
from pipeline.targets import Target

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Answers", "Config", "chosen", "evaluate", "main"]
log = logging.getLogger(__name__)
JUDGED = ("validation", "test")


@dataclass(frozen=True)
class Answers:
    """One candidate's probabilities or values [N, O], by variant and split (validation, test)."""

    variants: Mapping[str, Mapping[str, np.ndarray]]  # trained, compressed, and control where there is one

    @property
    def servable(self) -> bool:
        return "compressed" in self.variants


def evaluate(
    candidates: Mapping[str, Answers],
    truth: Mapping[str, np.ndarray],
    target: Target,
    wanted: Config,
) -> dict[str, Any]:
    """Every figure of every candidate on both splits, the choice and the paired gains; no file is touched.

    `truth` holds int64 [N] of classes, else float32 [N, O], for validation and test; `wanted` is settled.
    Raises: DataError where answers and truth do not fit.
    """
    figures = {
        split: {name: _figures(answers, split, truth[split], target, wanted) for name, answers in candidates.items()}
        for split in JUDGED
    }
    scores = {
        name: figures["validation"][name]["metrics"]["compressed"][wanted.headline]["value"]
        for name, answers in candidates.items()
        if answers.servable
    }
    paired = {split: _paired(candidates, split, truth[split], target, wanted) for split in JUDGED}
    return {
        **targets.record(target),
        "headline": wanted.headline,
        "chosen": chosen(scores, wanted.headline),
        "candidates": figures["test"],
        "validation": figures["validation"],
        "paired": paired,
        "cautions": cautions(figures["validation"], chosen(scores, wanted.headline), wanted.headline),
        "examples": {split: len(truth[split]) for split in JUDGED},
    }


def cautions(figures: Mapping[str, Mapping[str, Any]], name: str, headline: str) -> list[str]:
    """What speaks against the chosen candidate: another, which is not served, that is better on validation."""
    value = figures[name]["metrics"]["compressed"][headline]["value"]
    found = []
    for other, entry in figures.items():
        best = (entry["metrics"]["compressed"] or entry["metrics"]["trained"])[headline]["value"]
        if other != name and metrics.sign(headline) * (best - value) > 0:
            found.append(
                f"the {other}, at {best:.3f}, is better on validation than the {name} at {value:.3f} "
                f"({headline}): look at the learning curves before you serve it"
            )
    return found


def _figures(
    answers: Answers, split: str, truth: np.ndarray, target: Target, wanted: Config
) -> dict[str, dict[str, Any]]:
    found: dict[str, Any] = {"trained": None, "control": None, "compressed": None}
    for variant, by_split in answers.variants.items():
        measured = quality.intervals(wanted, truth, by_split[split], target)
        found[variant] = {name: asdict(value) for name, value in measured.items()}
    found["control"] = found["control"] or found["trained"]
    return {"metrics": found}


def _paired(
    candidates: Mapping[str, Answers], split: str, truth: np.ndarray, target: Target, wanted: Config
) -> list[dict[str, Any]]:
    """How much the headline gains from a candidate's training to its compression, and from candidate to candidate."""
    found = {f"{name}_{v}": by[split] for name, answers in candidates.items() for v, by in answers.variants.items()}
    pairs = [
        (f"{n}_{before}", f"{n}_compressed")
        for n, answers in candidates.items()
        for before in ("trained", "control")
        if answers.servable and before in answers.variants
    ]
    best = [f"{n}_{'compressed' if answers.servable else 'trained'}" for n, answers in candidates.items()]
    pairs += [(before, after) for k, before in enumerate(best) for after in best[k + 1 :]]
    return [
        {"from": a, "to": b, "gain": asdict(quality.gain(wanted, truth, found[a], found[b], target))} for a, b in pairs
    ]


def collect(task: Task) -> tuple[dict[str, Answers], dict[str, np.ndarray]]:
    """Every candidate's answers on validation and test, baseline first, and what is true of both splits."""
    from pipeline import graphs, network

    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    folders = {name: artifacts.folder(name, task.name) for name in ("prepared", "features", "baseline", "compressed")}
    compressed = artifacts.read_json(folders["compressed"] / "compress.json")["candidates"]
    splits = {split: reader.load(folders["prepared"], folders["features"], split) for split in JUDGED}
    loaded = network.load(artifacts.folder("models", task.name))
    kind = loaded.target.kind
    truth = {split: splits[split].truth(kind) for split in JUDGED}

    def served(candidate: str, examples: Mapping[str, graphs.Examples]) -> dict[str, np.ndarray]:
        entry = compressed[candidate]
        where = f"{folders['compressed']}/compress.json: {candidate}"
        inference.require_installed(inference.engine(entry["engine"]), entry["engine"], where)
        outputs = inference.engine(entry["engine"]).load(folders["compressed"] / candidate / entry["graph"], 1)
        return {split: graphs.answers(outputs, examples[split], kind) for split in JUDGED}

    saved = {split: np.load(folders["baseline"] / f"{split}.probabilities.npy") for split in JUDGED}
    baseline: dict[str, Mapping[str, np.ndarray]] = {"trained": saved}
    if "baseline" in compressed:
        weights = reader.weights(folders["prepared"], folders["features"], JUDGED)
        terms = {split: graphs.of_terms(weights[split], truth[split]) for split in JUDGED}
        baseline["compressed"] = served("baseline", terms)

    def predicted(net: "nn.Module") -> dict[str, np.ndarray]:
        return {split: network.predict(net, splits[split], loaded.inputs, loaded.target) for split in JUDGED}

    read = {split: graphs.of_net(splits[split], loaded.inputs, kind) for split in JUDGED}
    of_net = {"trained": predicted(loaded.net)} | ({"compressed": served("net", read)} if "net" in compressed else {})
    control = folders["compressed"] / "net" / "control"
    if control.is_dir():
        of_net["control"] = predicted(network.load(control).net)
    return {"baseline": Answers(baseline), "net": Answers(of_net)}, truth


def numbers(report: Mapping[str, Any], compressed: Mapping[str, Any], wanted: Config) -> dict[str, Any]:
    """What git tracks: headline quality on test and sizes, and no measured time, so that it repeats bit by bit.

    Per-class figures and those on validation stand in data/reports: `dvc metrics show` gives each number a column.
    """
    tracked = metrics.of(targets.recorded(report).kind).TRACKED
    groups = [f"{name}_accuracy" for name in wanted.binary]
    found: dict[str, Any] = {}
    for name, entry in report["candidates"].items():
        for variant in ("trained", "control", "compressed"):
            measured = entry["metrics"][variant]
            if measured is None or (variant == "control" and measured == entry["metrics"]["trained"]):
                continue
            values = {metric: measured[metric]["value"] for metric in (*tracked, *groups) if metric in measured}
            values |= {f"{wanted.headline}_{end}": measured[wanted.headline][end] for end in ("low", "high")}
            found.setdefault(name, {})[variant] = {metric: round(value, 6) for metric, value in values.items()}
    for name, entry in compressed["candidates"].items():
        served = {"trained": "eager", "fp32": "fp32", "compressed": entry["chosen"]}
        found[name]["bytes"] = {key: entry["variants"][variant]["bytes"] for key, variant in served.items()}
    return found | {"examples": report["examples"]["test"]}


def write(out: Path, task: Task, report: dict[str, Any], candidates: Mapping[str, Answers]) -> None:
    """report.json, paired.json, confusion.csv and predictions.parquet."""
    import pandas as pd

    artifacts.write_json(out / "paired.json", {"headline": report["headline"], **report["paired"]})
    artifacts.write_json(out / "report.json", {key: value for key, value in report.items() if key != "paired"})
    folder = artifacts.folder("prepared", task.name)
    table = pd.concat([_predictions(folder, split, candidates, targets.recorded(report)) for split in JUDGED])
    table.to_parquet(out / "predictions.parquet", index=False)
    test = table[table["split"] == "test"]
    with (out / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["actual", "predicted"])
        lines.writerows(zip(test["label"], test[f"{report['chosen']}_compressed"], strict=True))


def _predictions(folder: Path, split: str, candidates: Mapping[str, Answers], target: Target) -> Any:
    """id, split, label, and of each candidate's variants what it answers."""
    table = prepared.table(folder, split, ["id", "label"])
    table.insert(1, "split", split)
    for name, answers in candidates.items():
        for variant, by_split in answers.variants.items():
            table = table.assign(**targets.columns(f"{name}_{variant}", by_split[split], target))
    return table


def _with_cost(report: dict[str, Any], compressed: Mapping[str, Any]) -> dict[str, Any]:
    """Adds size, latency and speed-up of every compressed candidate."""
    for name, entry in compressed["candidates"].items():
        report["candidates"][name] |= {
            "bytes": {variant: figures["bytes"] for variant, figures in entry["variants"].items()},
            "latency_ms": {variant: figures["latency_ms"] for variant, figures in entry["variants"].items()},
            "speedup": entry["speedup"],
            "needed_examples": entry["needed_examples"],
            "variant": entry["chosen"],
            "reason": entry["reason"],
        }
    return report


def main(task: Task) -> None:
    from pipeline.tracking.runs import Run

    target = prepared.target(artifacts.folder("prepared", task.name))
    wanted = quality.check(task.section("evaluate", Config), target, f"{task.where}.evaluate")
    compressed = artifacts.read_json(artifacts.folder("compressed", task.name) / "compress.json")
    with Run(task.name, "evaluate", asdict(wanted), live=False) as run:
        candidates, truth = collect(task)
        report = _with_cost(evaluate(candidates, truth, target, wanted), compressed)
        out = artifacts.folder("reports", task.name)
        with artifacts.fresh(out) as building:
            write(building, task, report, candidates)
        artifacts.copy_plot(out / "confusion.csv", task.name)
        artifacts.write_json(artifacts.DATA / "metrics" / f"{task.name}.json", numbers(report, compressed, wanted))
        run.log(0, _points(report))
        for name in ("report.json", "confusion.csv"):
            run.artifact(out / name)
    _say(report)


def _points(report: Mapping[str, Any]) -> dict[str, float]:
    points = {}
    for split, candidates in (("test", report["candidates"]), ("validation", report["validation"])):
        for name, entry in candidates.items():
            for variant in ("trained", "control", "compressed"):
                for metric, value in (entry["metrics"][variant] or {}).items():
                    points[f"{split}/{name}/{variant}/{metric}"] = value["value"]
    return points


def _say(report: Mapping[str, Any]) -> None:
    headline = report["headline"]
    for name, entry in report["candidates"].items():
        for variant in ("trained", "control", "compressed"):
            if entry["metrics"][variant]:
                figure = entry["metrics"][variant][headline]
                bounds = f"{figure['low']:.4f}..{figure['high']:.4f}"
                log.info("%s, %s: test %s %.4f (%s)", name, variant, headline, figure["value"], bounds)
    log.info("chosen on validation: %s", report["chosen"])
    for caution in report["cautions"]:
        log.warning("%s", caution)


if __name__ == "__main__":
    stage.run("evaluate", main)
