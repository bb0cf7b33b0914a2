"""Where a task's answers are wrong, as the report shows it of several labels and of values. N examples, O outputs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import charts, targets
from pipeline.targets import Target

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 0.5  # a value's answer counts as right within so many standard deviations of the train values
COLUMNS = ("precision", "recall", "f1", "average_precision", "roc_auc")


def asked(target: Target) -> str:
    """What the examples are asked for, in words."""
    if target.kind == "value":
        return f"a value, {target.mean:.4g} ± {target.std:.2g} in train"
    return f"{len(target.names)} {'labels' if target.kind == 'labels' else 'classes'}"


def told(predictions: "pd.DataFrame", column: str, target: Target) -> "pd.DataFrame":
    """id, row, label, prediction, note, sure and right of each; `sure` says in which order they are worth a look."""
    import pandas as pd

    found = targets.answers(predictions, column, target)
    table = pd.DataFrame({"id": predictions["id"], "row": predictions["row"], "label": predictions["label"]})
    if target.kind == "value":
        truth = np.array([float(text) for text in predictions["label"]])
        answers = targets.matrix(found, target)[:, 0]
        away = np.abs(answers - truth)
        right = away <= CLOSE * target.std
        return table.assign(
            label=[f"{value:.4g}" for value in truth],
            prediction=[f"{value:.4g}" for value in answers],
            note=[f"{value:+.3g}" for value in answers - truth],
            sure=np.where(right, -away, away),
            right=right,
        )
    table["prediction"] = [text for text, _ in found]
    if target.kind == "labels":
        each = targets.matrix(found, target)
        sure = np.maximum(each, 1 - each).min(axis=1)
    else:
        sure = np.array([numbers for _, numbers in found], np.float64)
    right = table["label"] == table["prediction"]
    return table.assign(note=[f"{value:.2f}" for value in sure], sure=sure, right=right)


def of_each(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a label: its figures on the test split, of the registered candidate; a dash where there is none."""
    measured = report["candidates"][report["chosen"]]["metrics"]
    figures = measured.get("compressed") or measured["trained"]

    def cell(name: str) -> str:
        return f"{figures[name]['value']:.3f}" if name in figures else "–"

    return [{"name": name, "cells": [cell(f"{kind}/{name}") for kind in COLUMNS]} for name in report["classes"]]


def scatter(table: "pd.DataFrame") -> str:
    """True values across, answers up, as SVG. table: columns actual, predicted, one row an example."""
    actual, predicted = (table[name].astype(float) for name in ("actual", "predicted"))
    figure, axes = charts.axes()
    axes.scatter(actual, predicted, s=9, alpha=0.5, color=charts.BLUE, linewidths=0)
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    axes.plot(ends, ends, color=charts.GREY, linewidth=1)
    axes.set(xlabel="true value", ylabel="answer")
    return charts.svg(figure)


def errors(table: "pd.DataFrame") -> str:
    """True values across, errors up, as SVG: a slope is a network that keeps to the middle."""
    actual, predicted = (table[name].astype(float) for name in ("actual", "predicted"))
    figure, axes = charts.axes()
    axes.scatter(actual, predicted - actual, s=9, alpha=0.5, color=charts.RED, linewidths=0)
    axes.axhline(0, color=charts.GREY, linewidth=1)
    axes.set(xlabel="true value", ylabel="answer - true value")
    return charts.svg(figure)
