"""Graphs that answer one row at a time: an int8 graph that measures its ranges does so over all that it is given.

In a batch an answer would depend on the other rows, and on padding. This file travels with a served model.
B examples of a batch, T tokens.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

KEY = "danlu.rows"
Feed = Mapping[str, np.ndarray]


def mark(model: "ModelProto") -> None:
    """Says so in the graph's file, where it measures ranges."""
    if any(node.op_type.startswith("DynamicQuantize") for node in model.graph.node):
        model.metadata_props.add(key=KEY, value="alone")


def run(session: "InferenceSession", feed: Feed) -> Any:
    """The graph's first output for a batch, [B, …]."""
    names = [session.get_outputs()[0].name]
    if session.get_modelmeta().custom_metadata_map.get(KEY) != "alone":
        return session.run(names, dict(feed))[0]
    return np.concatenate([session.run(names, row)[0] for row in rows(feed)])


def rows(feed: Feed) -> Iterator[dict[str, np.ndarray]]:
    """Each row of a batch by itself, ids int64 [1, T] without their padding."""
    for k in range(len(next(iter(feed.values())))):
        row = {name: array[k : k + 1] for name, array in feed.items()}
        if "ids" in row:
            row["ids"] = row["ids"][:, : max(1, np.count_nonzero(row["ids"]))]
        yield row
