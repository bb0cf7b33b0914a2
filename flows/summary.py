"""Every headline figure of every task, gathered from what the stages left: `danlu summary --json`."""

from collections.abc import Mapping
from typing import Any

from pipeline import config
from pipeline.artifacts import DATA, STATE, folder, read_json


def summary() -> dict[str, Any]:
    """One object a task under `tasks`; what a task has not reached yet is null or missing in it.

    Raises: ConfigError for an unreadable params.yaml.
    """
    return {"tasks": {name: task_summary(name) for name in config.load()}}


def task_summary(task: str) -> dict[str, Any]:
    report = _read("reports", task, "report.json")
    return {
        "candidates": {name: candidate(entry) for name, entry in report.get("candidates", {}).items()},
        "registered": registered(task, report),
        "cross_validation": cross_validation(task),
        "rows": {key: _read("validated", task, "summary.json").get(key) for key in ("read", "kept", "quarantined")},
        "leaks": _read("prepared", task, "meta.json").get("leaks"),
        "seconds": seconds(task),
    }


def _read(stage_output: str, task: str, name: str) -> dict[str, Any]:
    path = folder(stage_output, task) / name
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def candidate(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Test metrics (value, low, high) as trained, control and compressed; bytes and, by batch size, milliseconds of
    each variant; the one served, and why.
    """
    cost = {key: entry.get(key, {}) for key in ("bytes", "latency_ms", "speedup")}
    return {"metrics": entry["metrics"], **cost, "variant": entry.get("variant"), "reason": entry.get("reason")}


def registered(task: str, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which candidate, its test metrics, and where it stands in the registry."""
    from pipeline import register
    from pipeline.errors import RegistryError

    try:
        receipt = register.state(task)
    except RegistryError:
        return None
    metrics = report.get("candidates", {}).get(receipt["candidate"], {}).get("metrics", {})
    return {
        "candidate": receipt["candidate"],
        "metrics": metrics.get("compressed") or metrics.get("trained") or {},
        "name": receipt["model_name"],
        "version": receipt["version"],
        "aliases": receipt["aliases"],
        "decision": receipt["decision"],
    }


def cross_validation(task: str) -> dict[str, Any] | None:
    """Per candidate and metric the mean over the folds with its interval; None while it is off.

    optimistic: whether a search has chosen the settings on rows that the folds test.
    """
    path = DATA / "metrics" / f"{task}.folds.json"
    found: dict[str, Any] = read_json(path) if path.is_file() else {"folds": 0}
    if not found["folds"]:
        return None
    each = found["candidates"].items()
    ends = ("value", "low", "high")
    return {
        "folds": found["folds"],
        "headline": found["headline"],
        "optimistic": found["optimistic"],
        "candidates": {
            name: {metric: {end: figure[end] for end in ends} for metric, figure in measured.items()}
            for name, measured in each
        },
    }


def seconds(task: str) -> dict[str, float]:
    """Seconds of each stage's own work when it last ran."""
    return {path.stem: read_json(path) for path in sorted((STATE / "seconds" / task).glob("*.json"))}
