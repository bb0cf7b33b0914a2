"""Turns the accepted examples into arrays on three sides of a split that no near duplicate crosses."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, sides, stage
from pipeline.artifacts import SPLITS
from pipeline.config import Task
from pipeline.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sides:
    """The rows of each split, in the manifest's order, and what was dropped (id, split, near, near_split)."""

    examples: dict[str, "pd.DataFrame"]
    leaks: "pd.DataFrame"


def prepare(accepted: "pd.DataFrame", examples: sides.Examples, edges: np.ndarray) -> Sides:
    """Puts each accepted row on its side and drops the leaks; `edges` [K, 2] are where each class's sides begin."""
    import pandas as pd

    accepted = accepted.reset_index(drop=True)
    numbers = sides.of(examples, edges)
    leaks = sides.leaks(numbers, examples.pairs)
    names, ids = np.array(SPLITS, dtype=object)[numbers], accepted["id"].to_numpy()
    rows = [(ids[leak.dropped], names[leak.dropped], ids[leak.near], names[leak.near]) for leak in leaks]
    placed = accepted.assign(split=names).drop(index=[leak.dropped for leak in leaks])
    kept = {name: placed[placed["split"] == name].reset_index(drop=True) for name in SPLITS}
    total = sum(map(len, kept.values())) + len(leaks)
    assert total == len(accepted), f"{len(accepted)} examples came in, {total} are split or dropped"
    return Sides(kept, pd.DataFrame(rows, columns=["id", "split", "near", "near_split"], dtype="str"))


def targets(rows: "pd.DataFrame", classes: list[str], place: str) -> np.ndarray:
    """float32 [N, K]: the source's probabilities, else 1 for the label.

    Raises: DataError for probabilities of no known class, or that do not sum to 1.
    """
    columns = {label: number for number, label in enumerate(classes)}
    out = np.zeros((len(rows), len(classes)), np.float32)
    for number, (label, text) in enumerate(zip(rows["label"], rows["probabilities"], strict=True)):
        if not isinstance(text, str):
            out[number, columns[label]] = 1
            continue
        soft = json.loads(text)
        known = set(soft) <= set(columns) and all(0 <= value <= 1 for value in soft.values())
        if not known or abs(sum(soft.values()) - 1) > 1e-3:
            raise DataError(
                f"{place}: {rows['id'].iloc[number]} has the probabilities {text[:200]}; "
                f"expected some of {', '.join(classes)}, each 0 to 1, with the sum 1; correct the source"
            )
        for name, value in soft.items():
            out[number, columns[name]] = value / sum(soft.values())
    return out


def counts(split: Sides, classes: list[str]) -> np.ndarray:
    """Examples of each class in each split, int64 [K, 3]."""
    columns = [rows["label"].value_counts().reindex(classes, fill_value=0) for rows in split.examples.values()]
    return np.stack(columns, axis=1)


def write(
    split: Sides,
    soft: Mapping[str, np.ndarray],
    classes: list[str],
    kind: str,
    out: Path,
    preparation: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes what is the same for every kind, and returns meta.json's content. `soft` is each split's targets."""
    import pandas as pd

    tables = []
    for name, rows in split.examples.items():
        labels = rows["label"].map({label: number for number, label in enumerate(classes)})
        np.save(out / f"{name}.labels.npy", labels.to_numpy(np.int64))
        np.save(out / f"{name}.targets.npy", soft[name])
        table = rows[["id", "split", "label", "group"]].copy()
        table.insert(2, "row", np.arange(len(rows), dtype=np.int64))
        tables.append(table.assign(text=rows["cleaned"]) if kind == "text" else table)
    pd.concat(tables, ignore_index=True).to_parquet(out / "examples.parquet", index=False)
    split.leaks.to_parquet(out / "leaks.parquet", index=False)
    numbers = counts(split, classes)
    shares = (numbers / numbers.sum(axis=0)).round(6).T.tolist()
    meta = {
        "kind": kind,
        "classes": classes,
        "counts": {name: len(rows) for name, rows in split.examples.items()},
        "leaks": len(split.leaks),
        "shares": {name: dict(zip(classes, of, strict=True)) for name, of in zip(SPLITS, shares, strict=True)},
        "drift": round(sides.drift(numbers), 6),
        "preparation": dict(preparation),
    }
    artifacts.write_json(out / "meta.json", meta)
    return meta


def run(task: Task, module: ModuleType, config: Any, out: Path) -> dict[str, Any]:
    """The whole stage into the folder `out`; returns meta.json's content."""
    import pandas as pd

    raw, validated = artifacts.folder("raw", task.name), artifacts.folder("validated", task.name)
    summary = artifacts.read_json(validated / "summary.json")
    classes = summary["classes"]
    record = sides.of_seed(sides.read(task.name), config.seed, config.shares)
    if record is None or not set(classes) <= set(record.begin):
        raise DataError(f"{task.where}.prepare: found no split of this seed for these classes; run stage split first")
    accepted = pd.read_parquet(validated / "accepted.parquet")
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    edges = np.array([record.begin[label] for label in classes])
    split = prepare(accepted, sides.examples(accepted, neighbours, classes, record), edges)
    soft = {name: targets(rows, classes, str(validated)) for name, rows in split.examples.items()}
    preparation = module.write(split.examples, raw / "files", out, config, summary["settings"])
    return write(split, soft, classes, task.kind, out, preparation)


def main(task: Task) -> None:
    module, config = task.of_kind("prepare", "preparation")
    with artifacts.fresh(artifacts.folder("prepared", task.name)) as out:
        meta = run(task, module, config, out)
    counted = ", ".join(f"{name} {count:,}" for name, count in meta["counts"].items())
    log.info(
        "prepare %s: %s; %s leaks dropped; class shares within %.1f points",
        task.name,
        counted,
        meta["leaks"],
        100 * meta["drift"],
    )
    if meta["drift"] > sides.DRIFT:
        log.warning(
            "prepare %s: a class's share of a split differs by more than %.0f points from its share of all; where the "
            "split was made from few examples, it is made anew without data/splits/%s.json",
            task.name,
            100 * sides.DRIFT,
            task.name,
        )


if __name__ == "__main__":
    stage.run("prepare", main)
