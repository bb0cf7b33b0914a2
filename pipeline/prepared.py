"""Reads data/prepared/<task>: the one place that knows how its shards lie.

data/prepared/<task>/<split>/ has for each shard `<start>.parquet`, one row an example, and beside it the arrays of
its kind; index.json has the shards' names, in order, and a hash of the contents of each. N examples, K classes.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import artifacts, texts
from pipeline.errors import DataError
from pipeline.store import Ragged, Store
from pipeline.targets import Target, numbers, recorded

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "label", "group", "probabilities")


def shards(prepared: Path, split: str) -> list[Path]:
    """Each shard's path without a suffix, in the order of the split's rows."""
    names = artifacts.read_json(prepared / split / "index.json")["shards"]
    return [prepared / split / name for name in names]


def table(prepared: Path, split: str, columns: Sequence[str] = COLUMNS) -> "pd.DataFrame":
    """The split's examples in the order of its rows."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(columns)
    found = [pq.read_table(with_suffix(shard, ".parquet"), columns=names) for shard in shards(prepared, split)]
    if not found:
        return pd.DataFrame({name: pd.Series([], dtype="str") for name in names})
    frame: pd.DataFrame = pa.concat_tables(found, promote_options="permissive").to_pandas()
    return frame


def split_digest(prepared: Path) -> str:
    """One word for which examples are held out: sha256 of the ids of validation, in their order as text."""
    ids = sorted(map(str, table(prepared, "validation", ["id"])["id"]))
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()[:16]


def with_suffix(shard: Path, suffix: str) -> Path:
    return shard.with_name(shard.name + suffix)


def classes(prepared: Path) -> list[str]:
    return list(artifacts.read_json(prepared / "meta.json")["classes"])


def target(prepared: Path) -> Target:
    """What the examples are asked for."""
    return recorded(artifacts.read_json(prepared / "meta.json"))


def labels(prepared: Path, split: str) -> np.ndarray:
    """int64 [N], numbers of `classes`; 0 where the examples are asked for something else."""
    import pandas as pd

    column = table(prepared, split, ["label"])["label"]
    if target(prepared).kind != "classes":
        return np.zeros(len(column), np.int64)
    return pd.Categorical(column, categories=classes(prepared)).codes.astype(np.int64)


def targets(prepared: Path, split: str) -> np.ndarray:
    """float32 [N, O]: what the network is to answer, of classes 1 for the label where there are no probabilities."""
    wanted = target(prepared)
    if wanted.kind == "classes":
        return soft(table(prepared, split, ["id", "label", "probabilities"]), wanted.names, str(prepared))
    return numbers(table(prepared, split, ["label"])["label"], wanted)


def truth(prepared: Path, split: str) -> np.ndarray:
    """What answers are measured against: int64 [N] of classes, else float32 [N, O]."""
    return labels(prepared, split) if target(prepared).kind == "classes" else targets(prepared, split)


def soft(rows: "pd.DataFrame", classes: Sequence[str], place: str) -> np.ndarray:
    """float32 [N, K]: the source's probabilities, else 1 for the label.

    Raises: DataError for probabilities of no known class, or that do not sum to 1.
    """
    columns = {label: number for number, label in enumerate(classes)}
    out = np.zeros((len(rows), len(classes)), np.float32)
    for number, (label, text) in enumerate(zip(rows["label"], rows["probabilities"], strict=True)):
        if not isinstance(text, str):
            out[number, columns[label]] = 1
            continue
        given = json.loads(text)
        known = set(given) <= set(columns) and all(0 <= value <= 1 for value in given.values())
        if not known or abs(sum(given.values()) - 1) > 1e-3:
            raise DataError(
                f"{place}: {rows['id'].iloc[number]} has the probabilities {text[:200]}; "
                f"expected some of {', '.join(classes)}, each 0 to 1, with the sum 1; correct the source"
            )
        for name, value in given.items():
            out[number, columns[name]] = value / sum(given.values())
    return out


def images(prepared: Path, split: str) -> Store | Ragged:
    """The split's images, memory-mapped. Raises: DataError for a shard that is not of the stage's making."""
    shape = artifacts.read_json(prepared / "meta.json")["preparation"]["shape"]
    try:
        if shape is None:
            return Ragged.open(shards(prepared, split))
        return Store.open([with_suffix(shard, ".npy") for shard in shards(prepared, split)], tuple(shape))
    except (OSError, ValueError) as error:
        raise DataError(f"{prepared}: {error}; expected the shards that prepare wrote; run prepare again") from None


def cleaned(prepared: Path, split: str) -> list[str]:
    """The split's cleaned texts."""
    return [text for shard in shards(prepared, split) for batch in texts.cleaned(shard) for text in batch]
