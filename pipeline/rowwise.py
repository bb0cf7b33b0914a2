"""Graphs that answer one row at a time: an int8 graph that measures its ranges does so over all that it is given.

In a batch an answer would depend on the other rows, and on padding. This file travels with a served model.
B examples of a batch, T tokens.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

KEY, ALONE = "danlu.rows", "alone"
Feed = Mapping[str, np.ndarray]


def mark(model: "ModelProto") -> None:
    """Says so in the graph's file, where it measures ranges."""
    if any(node.op_type.startswith("DynamicQuantize") for node in model.graph.node):
        model.metadata_props.add(key=KEY, value=ALONE)


def answering(run: Callable[[Feed], Any], *, alone: bool) -> Callable[[Feed], Any]:
    """A function from a batch to outputs [B, …], such as an engine's, for a graph that answers rows alone or not."""

    def answer(feed: Feed) -> Any:
        return run(feed) if _is_row(feed) else np.concatenate([run(row) for row in rows(feed)])

    return answer if alone else run


def _is_row(feed: Feed) -> bool:
    """Whether a batch is one row without padding, as almost all are that are served."""
    if len(next(iter(feed.values()))) != 1:
        return False
    ids = feed.get("ids")
    return ids is None or bool(ids.size and ids.item(-1))


def rows(feed: Feed) -> Iterator[dict[str, np.ndarray]]:
    """Each row of a batch by itself, ids int64 [1, T] without their padding."""
    for k in range(len(next(iter(feed.values())))):
        row = {name: array[k : k + 1] for name, array in feed.items()}
        if "ids" in row:
            row["ids"] = row["ids"][:, : max(1, np.count_nonzero(row["ids"]))]
        yield row
