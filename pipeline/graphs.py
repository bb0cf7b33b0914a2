"""ONNX graphs at work: what feeds them, what they answer, and what is inside.

N examples, B examples of a batch, T tokens or terms, H height, W width, C channels, O outputs.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import batches, targets
from pipeline.engines.onnxruntime import answer as answer
from pipeline.engines.onnxruntime import session as session
from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.targets import Kind

if TYPE_CHECKING:
    from onnx import ModelProto
    from scipy.sparse import csr_matrix

Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """One split as a graph's inputs: `read(rows)` gives the batch of these rows, named as the graph names them."""

    truth: np.ndarray  # what answers are measured against: int64 [N] of classes, else float32 [N, O]
    lengths: np.ndarray  # int64 [N], tokens or terms; equal where all are of one size
    read: Callable[[np.ndarray], Feed]

    def __len__(self) -> int:
        return len(self.truth)

    def spread(self, count: int) -> list[Feed]:
        """Up to `count` examples, each a batch of one, evenly spread over the split."""
        return [self.read(np.array([row])) for row in self.places(count)]

    def places(self, count: int) -> np.ndarray:
        """The rows of those, int64."""
        return np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64))


def of_net(split: Split, inputs: ImageInputs | TextInputs, kind: Kind = "classes") -> Examples:
    """`images` uint8 [B, H, W, C] or `ids` int64 [B, T]."""
    name = "images" if isinstance(inputs, ImageInputs) else "ids"
    lengths = np.zeros(len(split), np.int64) if isinstance(inputs, ImageInputs) else batches.lengths(split, inputs)
    return Examples(split.truth(kind), lengths, lambda rows: {name: batches.read(split, rows, inputs)})


def of_terms(weights: "csr_matrix", truth: np.ndarray) -> Examples:
    """`terms` int64 [B, T], filled with the column after the last, and `weights` float32 [B, T], filled with 0."""
    lengths = np.diff(weights.indptr).astype(np.int64)

    def read(rows: np.ndarray) -> Feed:
        columns = np.arange(max(1, lengths[rows].max()))
        inside = columns < lengths[rows][:, None]
        terms, values = np.full(inside.shape, weights.shape[1], np.int64), np.zeros(inside.shape, np.float32)
        places = (weights.indptr[rows][:, None] + columns)[inside]
        terms[inside], values[inside] = weights.indices[places], weights.data[places]
        return {"terms": terms, "weights": values}

    return Examples(truth, lengths, read)


def answers(
    outputs: Callable[[Feed], np.ndarray], examples: Examples, kind: Kind = "classes", batch_size: int = 64
) -> np.ndarray:
    """Probabilities or values float32 [N, O] in the split's order.

    Batches are of similar length, so that little is padded.
    """
    order = np.argsort(examples.lengths, kind="stable")
    parts = [outputs(examples.read(rows)) for rows in np.array_split(order, -(-len(order) // batch_size))]
    found = np.concatenate(parts)
    result = np.empty(found.shape, np.float32)
    result[order] = targets.read(found, kind)
    return result


def operators(graph: Path) -> dict[str, int]:
    """How often each operator stands in the graph."""
    import onnx

    counted: dict[str, int] = {}
    for node in onnx.load(graph).graph.node:
        counted[node.op_type] = counted.get(node.op_type, 0) + 1
    return counted


def share(graph: Path, stored: Collection[str]) -> float:
    """Share of the weights' numbers that the graph has in one of these types, such as ("int8",).

    Scales do not count, nor do single numbers, nor whole ones that are no codes.
    """
    counted = numbers(graph)
    return sum(counted.get(name, 0) for name in stored) / max(1, sum(counted.values()))


def numbers(graph: Path) -> dict[str, int]:
    """How many numbers the graph's weights have, by the type that stores them; scales are none of them."""
    import onnx

    model = onnx.load(graph)
    halved, left = _packed(model), scales(model)
    counted: dict[str, int] = {}
    for tensor in model.graph.initializer:
        array: Any = onnx.numpy_helper.to_array(tensor)
        name = array.dtype.name
        if array.ndim and name not in ("int32", "int64", "bool") and tensor.name not in left:
            counted[name] = counted.get(name, 0) + array.size * (2 if tensor.name in halved else 1)
    return counted


def _packed(model: "ModelProto") -> set[str]:
    """Tables with two codes a byte."""
    return {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "GatherBlockQuantized"
        and any(item.name == "bits" and item.i == 4 for item in node.attribute)
    }


def quantised(graph: Path) -> int:
    """How many operators with weights have them stored in int8: behind DequantizeLinear, or as integer operators."""
    import onnx

    model = onnx.load(graph)
    eight = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(tensor.dims) > 1
    }
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in eight:
            eight.update(node.output)
    apart = ("DequantizeLinear", "GatherBlockQuantized")  # the latter computes nothing, and may hold 4 bits
    return sum(node.op_type not in apart and bool(eight & set(node.input)) for node in model.graph.node)


SCALED = {
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "GatherBlockQuantized": (2,),
    "DynamicQuantizeLSTM": (8, 10),
}
"""By operator: which of its inputs are scales."""


def scales(model: "ModelProto") -> dict[str, str]:
    """The constants that are scales of codes, each with the name of a node that reads it."""
    constants = {tensor.name for tensor in model.graph.initializer}
    multiplied = _multiplied(model)
    found: dict[str, str] = {}
    for node in model.graph.node:
        read = [node.input[place] for place in SCALED.get(node.op_type, ())]
        if node.output[0] in multiplied:
            read = list(node.input)
        found |= {name: node.name for name in read if name in constants}
    return found


def _multiplied(model: "ModelProto") -> set[str]:
    """The products of two scales, by which sums of products of codes become fp32: MatMulInteger, Cast, Mul."""
    sums: set[str] = set()
    products: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "MatMulInteger" or (node.op_type == "Cast" and node.input[0] in sums):
            sums.add(node.output[0])
        if node.op_type == "Mul" and sums & set(node.input):
            products.update(set(node.input) - sums)
    return products


def unsound(graph: Path) -> list[str]:
    """The names of nodes with a scale that is not finite or not above 0: what they answer means nothing."""
    import onnx

    model = onnx.load(graph)
    read = scales(model)
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in read}
    bad = {name for name, array in arrays.items() if not (np.isfinite(array) & (array > 0)).all()}
    return [read[name] for name in arrays if name in bad]
