"""Writes a split of data/prepared as stage prepare does, in two shards, for tests of what reads it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd


def write_split(
    folder: Path,
    split: str,
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    images: np.ndarray | None = None,
    ids: Sequence[str] | None = None,
) -> None:
    """labels [N] are numbers of classes; images uint8 [N, H, W, C]."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    names = list(ids) if ids is not None else [f"{split}:{k}" for k in range(len(labels))]
    table = pd.DataFrame({"id": names, "label": [classes[k] for k in labels]}).astype("str")
    table = table.assign(group=pd.Series([None] * len(table), dtype="str"))
    table = table.assign(probabilities=pd.Series([None] * len(table), dtype="str"))
    half = len(table) // 2
    borders = [(0, half), (half, len(table))] if half else [(0, len(table))]
    for start, end in borders if len(table) else []:
        table.iloc[start:end].to_parquet(folder / split / f"{start:010}.parquet", index=False)
        if images is not None:
            np.save(folder / split / f"{start:010}.npy", images[start:end])
    shards = [f"{start:010}" for start, _ in borders] if len(table) else []
    contents = "" if images is None else hashlib.sha256(images.tobytes()).hexdigest()
    (folder / split / "index.json").write_text(json.dumps({"shards": shards, "contents": [contents] * len(shards)}))


def write_meta(folder: Path, kind: str, classes: Sequence[str], shape: Sequence[int] = (), **more: object) -> None:
    """`shape` is H, W, C of images."""
    meta = {"kind": kind, "classes": list(classes), "preparation": {"shape": list(shape)}, **more}
    (folder / "meta.json").write_text(json.dumps(meta))
