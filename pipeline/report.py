"""Stage `report`: every task's figures on one page, data/report/index.html, which needs no network.

It restates what the other stages wrote and computes no figure of its own.
"""

import base64
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import (
    artifacts,
    compressing,
    config,
    learning,
    metrics,
    mistakes,
    prepared,
    searching,
    spread,
    stage,
    targets,
)
from pipeline.targets import Target

TEMPLATE = Path("report.html.j2")
SAMPLES = 12
NEEDED = (  # of a task that is on the page; DVC takes a stage's output away before the stage runs again
    "validated/{}/summary.json",
    "profiles/{}.json",
    "metrics/{}.leakage.json",
    "prepared/{}/meta.json",
    "models/{}/model.json",
    "compressed/{}/compress.json",
    "reports/{}/report.json",
    "registered/{}/receipt.json",
)


def interval_text(figure: dict[str, float] | None) -> str:
    """`0.853 (0.836–0.869)`, or a dash for a figure that was not measured."""
    if figure is None:
        return "–"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"


def candidate_rows(report: dict[str, Any], headlines: Sequence[str]) -> list[dict[str, Any]]:
    """The test figures of each candidate's variants; a control where training again made another network."""
    rows = []
    for candidate, entry in sorted(report["candidates"].items()):
        for variant in ("trained", "control", "compressed"):
            figures = entry["metrics"].get(variant)
            if not figures or (variant == "control" and figures == entry["metrics"]["trained"]):
                continue
            chosen = candidate == report["chosen"] and variant == "compressed"
            cells = [interval_text(figures.get(name)) for name in headlines]
            rows.append({"name": f"{candidate}, {variant}", "cells": cells, "chosen": chosen})
    return rows


def confusion_rows(table: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Counts with a shade in 0..1 by the share of the row. table: columns actual, predicted, one row an example."""
    rows = []
    for actual in classes:
        predicted = table.loc[table["actual"] == actual, "predicted"].value_counts()
        total = max(1, int(predicted.sum()))
        counts = [int(predicted.get(name, 0)) for name in classes]
        rows.append({"name": actual, "cells": [{"count": n, "shade": round(n / total, 3)} for n in counts]})
    return rows


def _picture(pixels: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def sample_rows(task: str, kind: str, chosen: str) -> list[dict[str, Any]]:
    """The surest mistakes first, then sure right answers, half and half where there are enough.

    Of a value the largest errors first, then the smallest.
    """
    import numpy as np
    import pandas as pd

    folder = artifacts.folder("prepared", task)
    rows_of = prepared.table(folder, "test", ["id"])
    rows_of["row"] = np.arange(len(rows_of))
    if kind == "text":
        rows_of["text"] = prepared.cleaned(folder, "test")
    predictions = pd.read_parquet(artifacts.folder("reports", task) / "predictions.parquet")
    predictions = predictions[predictions["split"] == "test"].merge(rows_of, on="id")
    table = mistakes.told(predictions, f"{chosen}_compressed", prepared.target(folder))
    if kind == "text":
        table["text"] = predictions["text"].str.slice(0, 160)
    table = table.sort_values(["sure", "id"], ascending=[False, True])
    wrong = table[~table["right"]].head(SAMPLES // 2)
    shown = pd.concat([wrong, table[table["right"]].head(SAMPLES - len(wrong))])
    rows = [{str(key): value for key, value in row.items()} for row in shown.to_dict("records")]
    if kind == "image":
        images = prepared.images(folder, "test")
        for row in rows:
            row["image"] = _picture(images[row["row"]])
    return rows


def tiles(
    report: dict[str, Any], compressed: dict[str, Any], headlines: Sequence[str], target: Target
) -> list[dict[str, str]]:
    """The few figures to read first: the chosen candidate's quality, size and speed."""
    chosen, headline = report["chosen"], report["headline"]
    measured = report["candidates"][chosen]["metrics"]
    figures = measured.get("compressed") or measured["trained"]
    entry = compressed["candidates"][chosen]
    served = entry["variants"][entry["chosen"]]
    module = metrics.of(target.kind)
    groups = [name for name in headlines if name not in module.SHOWN]
    names = [headline, *groups, *([module.BESIDE] if headline != module.BESIDE else [])]
    found = [
        {
            "name": name,
            "value": f"{figures[name]['value']:.3f}",
            "note": f"95 % interval {figures[name]['low']:.3f}–{figures[name]['high']:.3f}",
        }
        for name in names
        if name in figures
    ]
    smaller = _times_smaller(entry["variants"]["fp32"]["bytes"] / served["bytes"])
    found.append({"name": "served size", "value": compressing.size_text(served["bytes"]), "note": smaller})
    return [*found, compressing.latency_tile(entry)]


def _times_smaller(ratio: float) -> str:
    return f"{ratio:.1f}× smaller than fp32" if ratio >= 1.05 else ""


def augmented(folder: Path) -> str | None:
    """The picture that train drew of its augmentation, in base64; None where there is none."""
    path = folder / "augmented.png"
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else None


def describe(task: str, kind: str) -> dict[str, Any]:
    """What the page says of one task."""
    import pandas as pd

    folder = artifacts.folder
    report = artifacts.read_json(folder("reports", task) / "report.json")
    compressed = artifacts.read_json(folder("compressed", task) / "compress.json")
    summary = artifacts.read_json(folder("validated", task) / "summary.json")
    meta = artifacts.read_json(folder("prepared", task) / "meta.json")
    model, tested = artifacts.read_json(folder("models", task) / "model.json"), folder("models", task) / "range.csv"
    history = pd.read_csv(folder("models", task) / "history.csv")
    confusion = pd.read_csv(folder("reports", task) / "confusion.csv", dtype=str, keep_default_na=False)
    measured = report["candidates"][report["chosen"]]["metrics"]["trained"]
    target = targets.recorded(report)
    known = metrics.of(target.kind).SHOWN
    headlines = [*known, *sorted(n for n in measured if n.endswith("_accuracy") and n not in known)]
    features, reworded = folder("features", task) / "meta.json", folder("models", task) / "augmented.json"
    study = folder("tuned", task) / "study.json"
    return {
        "name": task,
        "kind": kind,
        "classes": report["classes"],
        "headline": report["headline"],
        "headlines": headlines,
        "receipt": artifacts.read_json(folder("registered", task) / "receipt.json"),
        "asked": mistakes.asked(target),
        "cautions": report["cautions"],
        "tiles": tiles(report, compressed, headlines, target),
        "rows": candidate_rows(report, headlines),
        "training": learning.described(model, history, pd.read_csv(tested) if tested.is_file() else None),
        "augmented": augmented(folder("models", task)),
        "search": searching.described(artifacts.read_json(study)) if study.is_file() else None,
        "compression": compressing.described(compressed, report["chosen"]),
        "confusion": confusion_rows(confusion, report["classes"]) if target.kind == "classes" else [],
        "of_each": mistakes.of_each(report) if target.kind == "labels" else [],
        "scatter": mistakes.scatter(confusion) if target.kind == "value" else "",
        "errors": mistakes.errors(confusion) if target.kind == "value" else "",
        "summary": summary,
        "quarantined": sorted(summary["quarantined"].items(), key=lambda item: -item[1]),
        "leaks": meta["leaks"],
        "leakage": artifacts.read_json(artifacts.DATA / "metrics" / f"{task}.leakage.json"),
        "profile_drift": artifacts.read_json(artifacts.DATA / "profiles" / f"{task}.json")["drift"],
        "drift": meta["drift"],
        "splits": [{"name": s, "count": meta["counts"][s], "shares": meta["shares"][s]} for s in artifacts.SPLITS],
        "vectors": artifacts.read_json(features).get("vectors") if features.is_file() else None,
        "reworded": artifacts.read_json(reworded) if reworded.is_file() else [],
        "samples": sample_rows(task, kind, report["chosen"]),
        "folded": spread.described(task, headlines),
        "suspects": spread.suspects(task),
    }


def render(tasks: Sequence[dict[str, Any]], waiting: Sequence[str] = ()) -> str:
    """The page. tasks: as `describe` gives them; waiting: names of tasks that have not been run to their end yet."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(tasks=tasks, waiting=waiting)


def main() -> None:
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells when it lists the machine's fonts
    tasks = config.load()
    ended = [name for name in tasks if all((artifacts.DATA / out.format(name)).is_file() for out in NEEDED)]
    page = render(
        [describe(name, tasks[name]["kind"]) for name in ended], [name for name in tasks if name not in ended]
    )
    with artifacts.fresh(artifacts.DATA / "report") as out:
        (out / "index.html").write_text(page, "utf-8")


if __name__ == "__main__":
    stage.run_over_all("report", main)
