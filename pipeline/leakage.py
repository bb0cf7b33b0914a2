"""Stage `leakage`: what a random split of the rows as they came would have scored, beside the split that is used.

Where equal or nearly equal examples lie on both sides of a split, a model is praised for what it remembers. A simple
model is fitted on both splits, so that the two scores differ by the split alone.
N rows, D distinct contents, M pairs of near duplicates.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, config, parts, prepared, stage
from pipeline.config import Task

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
REASONS = ("duplicate", "conflicting_labels")
"""Rows with these reasons would have been in a split that nobody looked at."""
DRAWS = 3
SURE = 2000
"""Test rows from which on one draw of a random split is enough."""


@dataclass(frozen=True)
class Score:
    """accuracy with its 95 % Wilson interval; seen: the share of test rows with an equal or near one in train."""

    accuracy: float
    low: float
    high: float
    seen: float
    train: int
    test: int


@dataclass(frozen=True)
class Rows:
    """The rows as they came, but for those that cannot be read.

    contents: the number of each row's content, int64 [N]; labels: str [N]; sides: the row's split as it is used,
    "" for none, str [N]; near: pairs of near contents, int64 [M, 2].
    """

    contents: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    near: np.ndarray


def leakage(rows: Rows, x: Any, module: ModuleType, seed: int = 0) -> dict[str, Any]:
    """The honest and the naive score and what lies between; x: the features of each content, a matrix with D rows."""
    train, test = (np.flatnonzero(rows.sides == name) for name in ("train", "test"))
    honest = _score(rows, x, module, train, test)
    sizes = np.array([len(train), len(test)]) * len(rows.contents) // max(int((rows.sides != "").sum()), 1)
    draws = []
    for draw in range(1 if sizes[1] >= SURE else DRAWS):
        order = np.random.default_rng([seed, draw]).permutation(len(rows.contents))
        draws.append(_score(rows, x, module, order[: sizes[0]], order[sizes[0] : sizes.sum()]))
    accuracy = float(np.mean([draw.accuracy for draw in draws]))
    naive = Score(
        accuracy,
        *wilson(accuracy, draws[0].test),
        float(np.mean([draw.seen for draw in draws])),
        draws[0].train,
        draws[0].test,
    )
    return {
        "model": module.MODEL,
        "honest": {key: round(value, 4) for key, value in asdict(honest).items()},
        "naive": {key: round(value, 4) for key, value in asdict(naive).items()},
        "inflation": round(naive.accuracy - honest.accuracy, 4),
    }


def _score(rows: Rows, x: Any, module: ModuleType, train: np.ndarray, test: np.ndarray) -> Score:
    labels = rows.labels
    if len(set(labels[train].tolist())) < 2 or not len(test):
        return Score(0.0, 0.0, 1.0, 0.0, len(train), len(test))
    predict = module.fit(x[rows.contents[train]], labels[train])
    accuracy = float((predict(x[rows.contents[test]]) == labels[test]).mean())
    known = np.zeros(x.shape[0], bool)
    known[rows.contents[train]] = True
    near = known.copy()
    for a, b in (rows.near.T, rows.near.T[::-1]):
        near[a[known[b]]] = True
    return Score(accuracy, *wilson(accuracy, len(test)), float(near[rows.contents[test]].mean()), len(train), len(test))


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of `count` (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def sampled(contents: Sequence[str], most: int) -> np.ndarray:
    """bool [N]: the rows of at most about `most` contents, whole, chosen by the contents' own hash."""
    if (distinct := len(set(contents))) <= most:
        return np.ones(len(contents), bool)
    limit = most / distinct * 2**64
    chosen = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") < limit for text in contents]
    return np.array(chosen, bool)


def _table(task: str, same: str) -> "pd.DataFrame":
    """id, label, same and split of every row that could have been used; `split` is empty where it is not.

    same: the column of the accepted rows in which equal contents are equal.
    """
    import pandas as pd

    validated, folder = artifacts.folder("validated", task), artifacts.folder("prepared", task)
    accepted = parts.read(validated / "accepted", ["id", "label", same]).rename(columns={same: "same"})
    others = pd.read_parquet(validated / "quarantine.parquet", columns=["id", "label", "same", "reason"])
    table = pd.concat([accepted, others[others["reason"].isin(REASONS)].drop(columns="reason")], ignore_index=True)
    sides = [prepared.table(folder, name, ["id"]).assign(split=name) for name in artifacts.SPLITS]
    table = table.merge(pd.concat(sides, ignore_index=True), on="id", how="left")
    return table.assign(split=table["split"].fillna(""))


def _manifest(raw: Path, ids: Sequence[str], columns: Sequence[str]) -> "pd.DataFrame":
    """These rows of the manifest, in this order."""
    import pandas as pd

    wanted = set(ids)  # pandas' own isin would go through them for every part
    each = parts.each(raw / "manifest", ["id", *columns])
    pieces = [piece[[name in wanted for name in piece["id"]]] for piece in each]
    return pd.concat(pieces).set_index("id").loc[list(ids)].reset_index()


def main(task: Task) -> None:
    import pandas as pd

    validation, settings = task.of_kind("validate", "validation")
    module = config.plugin("leaks", task.kind, f"{task.where}.kind")
    table = _table(task.name, validation.SAME)
    table = table[sampled(table["same"].tolist(), module.MOST)].reset_index(drop=True)
    numbers = pd.factorize(table["same"])[0]
    first = table["id"][~table["same"].duplicated()]
    raw = artifacts.folder("raw", task.name)
    x = module.features(_manifest(raw, first.tolist(), ["path", "sha256", *module.COLUMNS]), raw / "files", settings)
    content = pd.Series(numbers, index=table["id"])
    pairs = pd.read_parquet(artifacts.folder("validated", task.name) / "neighbours.parquet")
    pairs = pairs[pairs["a"].isin(content.index) & pairs["b"].isin(content.index)]
    near = np.stack([content[pairs["a"]].to_numpy(), content[pairs["b"]].to_numpy()], axis=1).astype(np.int64)
    labels, sides = table["label"].to_numpy(object), table["split"].to_numpy(object)
    found = leakage(Rows(numbers.astype(np.int64), labels, sides, near), x, module)
    artifacts.write_json(artifacts.DATA / "metrics" / f"{task.name}.leakage.json", found)
    log.info("leakage %s: %s", task.name, words(found))


def words(found: dict[str, Any]) -> str:
    """The finding in a sentence."""
    naive, honest = found["naive"], found["honest"]
    text = f"a random split of the rows as they came would have scored {naive['accuracy']:.3f}"
    text += f" ({naive['seen']:.0%} of its test rows have an equal or near one in train), the split in use scores"
    return f"{text} {honest['accuracy']:.3f} ({honest['low']:.3f}-{honest['high']:.3f}), with a {found['model']}"


if __name__ == "__main__":
    stage.run("leakage", main)
