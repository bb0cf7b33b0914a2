"""The folder in which a fold's process works as if it were a project: the user's files, and its own split of the rows.

Everything that the stages write there is the fold's own, so that nothing of another fold can be read in it.
N rows.
"""

import os
import shutil
from pathlib import Path

import numpy as np

from pipeline import arrivals, artifacts, parts
from pipeline.artifacts import SPLITS

OWN = {"data", "mlruns", ".danlu", ".dvc", ".git", ".dvcignore"}
"""Entries of the project's root that a fold has of its own, or not at all; and DVC's and MLflow's files."""
ANSWERED = Path("paraphrases")  # what a user's command has answered already, so that it is not asked k times


def make(folder: Path, task: str, sided: np.ndarray) -> None:
    """Makes the folder, or brings one of a killed run back to its start; its checkpoints and caches stay.

    sided: each accepted row's side, int8 [N], below 0 for a row that takes no part.
    """
    root = Path.cwd()
    shutil.rmtree(folder / artifacts.DATA, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        if entry.name not in OWN and not entry.name.startswith(("dvc.", "mlflow.db", "params.yaml")):
            _link(entry, folder / entry.name)
    raw = artifacts.folder("raw", task)
    (folder / raw.parent).mkdir(parents=True)
    _link(root / raw, folder / raw)
    answered = root / artifacts.STATE / ANSWERED
    if answered.is_dir():
        shutil.copytree(answered, folder / artifacts.STATE / ANSWERED, dirs_exist_ok=True)
    validated = artifacts.folder("validated", task)
    _write_rows(validated, folder / validated, sided)
    _write_order(folder / validated, folder / artifacts.folder("order", task))


def _link(source: Path, target: Path) -> None:
    if not target.is_symlink():
        os.symlink(source.absolute(), target, source.is_dir())


def _write_rows(validated: Path, out: Path, sided: np.ndarray) -> None:
    """The accepted rows that take part, with their sides as if the user had given them, part by part."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    (out / "accepted").mkdir(parents=True)
    shutil.copyfile(validated / "summary.json", out / "summary.json")
    start, left = 0, set[str]()
    names = np.array(SPLITS, object)
    for path in parts.files(validated / "accepted"):
        table = pq.read_table(path)
        mine = sided[start : start + len(table)]
        start += len(table)
        left.update(np.array(table["id"].to_pylist(), object)[mine < 0])
        column = pa.array(names[mine[mine >= 0]], pa.large_string())
        kept = table.filter(pa.array(mine >= 0))
        kept = kept.set_column(kept.schema.get_field_index("split"), "split", column)
        pq.write_table(kept, out / "accepted" / path.name, compression="zstd")
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    if left:
        neighbours = neighbours[~(neighbours["a"].isin(left) | neighbours["b"].isin(left))]
    neighbours.to_parquet(out / "neighbours.parquet", index=False)


def _write_order(validated: Path, out: Path) -> None:
    """The rows' own order in the place of that in which they arrived: what was there before changes no fold."""
    contents = [arrivals.keys(part["content"]) for part in parts.each(validated / "accepted", ["content"])]
    arrivals.extend(out, np.concatenate(contents))
