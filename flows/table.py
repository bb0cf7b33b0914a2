"""The table that a run ends with: what ran, the figures, where to look, how to record it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.stages import Outcome

WORDS = {
    "ran": "ran",
    "restored": "restored from the cache",
    "unchanged": "unchanged",
    "failed": "FAILED",
    "skipped": "skipped: a stage before it failed",
    "stopped": "stopped",
}
REPORT = Path("data/report/index.html")
RECORDED = (  # what git keeps of a run, the user's own files among its inputs
    *("dvc.lock", "params.yaml", "data/metrics", "data/profiles", "data/splits"),
    *("expectations", "dictionaries"),
)
HEADLINES = ("accuracy", "macro_f1", "exact_match", "r2", "mae")  # those of them that some task has


def stage_rows(outcomes: Mapping[str, Outcome]) -> list[list[str]]:
    """One row a stage; unchanged stages of a task share one."""
    found = [["stage", "state", "seconds"]]
    found += [[o.stage, WORDS[o.state], f"{o.seconds:.1f}"] for o in outcomes.values() if o.state != "unchanged"]
    unchanged = sum(o.state == "unchanged" for o in outcomes.values())
    if unchanged:
        found.append([f"{unchanged} stage{'s' * (unchanged != 1)}", "unchanged", ""])
    return found


def figure_rows(tasks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One row a candidate model: test metrics with their intervals, size and latency of what is served, registry.

    Where a task is cross-validated, one more: the candidate that each fold would choose, mean over the folds;
    optimistic where a search has seen rows that the folds test.
    """
    shown = _shown(tasks)
    found = [["task", "model", *(name.replace("_", "-") for name in shown), "size", "latency", "registry"]]
    for name, task in tasks.items():
        registered = task["registered"] or {}
        for candidate, entry in task["candidates"].items():
            metrics = entry["metrics"].get("compressed") or entry["metrics"].get("trained") or {}
            decision = ""
            if registered.get("candidate") == candidate:
                decision = f"{registered['name']} version {registered['version']}: {registered['decision']}"
            variant = entry["variant"]
            model = f"{candidate} {variant}" if variant else candidate
            figures = [_interval(metrics.get(headline)) for headline in shown]
            latency = _latency(entry["latency_ms"].get(variant, {}))
            size = entry["bytes"].get(variant)
            row = [name, model, *figures, _size(size), latency, decision]
            found.append(row)
        if folded := task.get("cross_validation"):
            figures = [_interval(folded["candidates"]["chosen"].get(headline)) for headline in shown]
            optimistic = ", optimistic" if folded["optimistic"] else ""
            found.append([name, f"mean of {folded['folds']} folds{optimistic}", *figures, "", "", ""])
    return found


def _shown(tasks: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """The figures of HEADLINES that some task has: classes, labels and values have their own."""
    entries = [entry["metrics"] for task in tasks.values() for entry in task["candidates"].values()]
    there = {name for variants in entries for figures in variants.values() for name in figures or {}}
    usual = HEADLINES[:2] if "accuracy" in there or not there else ()
    return [name for name in HEADLINES if name in (*usual, *there)]


def _interval(figure: Any) -> str:
    if not isinstance(figure, Mapping):
        return ""
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def _latency(by_batch: Mapping[str, Mapping[str, float]]) -> str:
    """The median at the smallest batch that was timed."""
    return f"{by_batch[min(by_batch, key=int)]['median']:.2f} ms" if by_batch else ""


def _size(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f} MB"


def text(rows: Sequence[Sequence[str]]) -> str:
    """The rows in aligned columns, the first as a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def failures(outcomes: Iterable[Outcome]) -> str:
    """The last lines of each failed stage, in one place."""
    found = []
    for outcome in outcomes:
        if outcome.state == "failed":
            found.append(f"{outcome.stage} ended with {outcome.code}; all it said: .danlu/logs/{outcome.stage}.log")
            found += [f"  {line}" for line in outcome.said]
    return "\n".join(found)


def where(tasks: Iterable[str], unrecorded: Sequence[str]) -> list[str]:
    """Where to look, and how to record the result. tasks: those with a registered model; unrecorded: paths for git."""
    found = []
    if REPORT.is_file():
        found.append(f"look at  {REPORT}, or `make ui` for the MLflow and Prefect pages")
    found += [f"ask      danlu predict {name} …" for name in tasks]
    if unrecorded:
        found.append(f'record   git add {" ".join(unrecorded)} && git commit -m "Train"')
    return found
