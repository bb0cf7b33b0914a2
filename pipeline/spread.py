"""Cross-validation as the report shows it: the means with their intervals, and each fold's figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import artifacts, charts


def described(task: str, headlines: Sequence[str]) -> dict[str, Any] | None:
    """The table and the chart; None where the task is not cross-validated."""
    path = artifacts.DATA / "metrics" / f"{task}.folds.json"
    found: dict[str, Any] = artifacts.read_json(path) if path.is_file() else {"folds": 0}
    if not found["folds"]:
        return None
    candidates = {name: found["candidates"][name] for name in (*found["order"], "chosen")}
    there = [name for name in headlines if any(name in measured for measured in candidates.values())]
    rows = [
        {"metric": name, "cells": [_cell(measured.get(name)) for measured in candidates.values()]} for name in there
    ]
    chart = drawn({name: measured[found["headline"]] for name, measured in candidates.items()}, found["headline"])
    return {
        "folds": found["folds"],
        "names": list(candidates),
        "rows": rows,
        "chart": chart,
        "optimistic": found["optimistic"],
        "difference": ", ".join(
            f"{name} {figure['value']:+.3f} ({figure['low']:+.3f} to {figure['high']:+.3f})"
            for name, figure in found["difference"].items()
        ),
    }


def _cell(figure: Mapping[str, float] | None) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})" if figure else "–"


def drawn(figures: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """A line a candidate, as SVG: each fold as a dot, the mean and its interval as a bar."""
    figure, axes = charts.axes(height=0.6 + 0.55 * len(figures))
    names = list(figures)[::-1]
    for place, measured in enumerate(figures[name] for name in names):
        axes.plot([measured["low"], measured["high"]], [place, place], color=charts.GREY, linewidth=5, alpha=0.4)
        values = [value for value in measured["folds"] if value is not None]
        axes.scatter(values, [place] * len(values), s=18, color=charts.BLUE, alpha=0.8, linewidths=0, zorder=3)
        axes.scatter([measured["value"]], [place], s=60, color=charts.RED, marker="|", zorder=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(figures) - 0.4)
    axes.set(xlabel=f"{metric} of each fold, its mean and 95 % interval")
    return charts.svg(figure)


def suspects(task: str) -> str | None:
    """What stage suspects says, where it has looked for any."""
    path = artifacts.folder("suspects", task) / "summary.json"
    found: dict[str, Any] = artifacts.read_json(path) if path.is_file() else {}
    return str(found["words"]) if found.get("rows") else None
