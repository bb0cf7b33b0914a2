"""What embedding_int8 and embedding_int4 share: tables of few bits whose rows become fp32 as their ids are looked up.

A DequantizeLinear before the Gather would make the whole table fp32, at every call or once in memory; ONNX Runtime's
GatherBlockQuantized reads the rows asked for alone. Zero is stored exactly, and so is the row of padding.
V rows, E values of a row.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

log = logging.getLogger(__name__)
Bits = Literal[4, 8]
OPERATOR, DOMAIN = "GatherBlockQuantized", "com.microsoft"
SMALLEST = 1e-30
"""A block whose values are all below it is stored as zeros: their scale would be no number of fp32."""
NARROWEST = 16
"""Values of a row below which its scale costs too much."""
CLIPPED = (1.0, 0.93, 0.87, 0.81, 0.75, 0.7)
"""Shares of a block's largest value that the largest code may stand for: in 4 bits a finer step for all others is
worth cutting that one off, which takes a tenth off the error of normal weights."""


def compress(source: Path, target: Path, bits: Bits, block: int | None) -> None:
    """Writes the folded graph `source` with its tables in so many bits; what else it has stays as it is.

    block: values that share a scale, a power of two from 16 on; None: a whole row.
    A table that cannot be stored so is named.
    """
    import onnx
    from onnx import helper, numpy_helper

    from pipeline.export import save

    model = onnx.load(source)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, readers in _read_by(model.graph).items():
        table = numpy_helper.to_array(tensors[name])
        if reason := _unfit(table, readers, bits):
            log.info("%s stays fp32: %s", name, reason)
            continue
        size = block or max(16, 1 << (table.shape[1] - 1).bit_length())
        codes, scales = quantised(table, bits, size)
        for node in readers:
            node.input[:] = [f"{name}_codes", node.input[1], f"{name}_scales"]
            node.op_type, node.domain = OPERATOR, DOMAIN
            del node.attribute[:]
            attributes = {"bits": bits, "block_size": size, "gather_axis": 0, "quantize_axis": 1}
            node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        model.graph.initializer.remove(tensors[name])
        stored = {f"{name}_codes": codes, f"{name}_scales": scales}
        model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in stored.items())
    if not any(opset.domain == DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    save(model, target)


def present(graph: Path, bits: Bits) -> int:
    """How many look-ups read a table of so many bits."""
    import onnx

    return sum(
        node.op_type == OPERATOR and any(item.name == "bits" and item.i == bits for item in node.attribute)
        for node in onnx.load(graph).graph.node
    )


def quantised(table: np.ndarray, bits: Bits, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 [V, E · bits / 8], the middle one for 0, and scales float32 [V, E / block, rounded up].

    Of the scales for a block that which leaves the least squared error is taken. Of two codes of 4 bits in a byte the
    lower half is the first.
    """
    rows, width = table.shape
    blocks = np.zeros((rows, -(-width // block), block), np.float32)
    blocks.reshape(rows, -1)[:, :width] = table
    middle = 1 << (bits - 1)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    step = np.where(largest > SMALLEST, largest / (middle - 1), 1).astype(np.float32)
    codes, scales, least = blocks, step, np.full(step.shape, np.inf, np.float32)
    for share in CLIPPED:
        scale = step * np.float32(share)
        rounded = np.rint(blocks / scale).clip(-middle, middle - 1)
        error = np.square(rounded * scale - blocks).sum(axis=2, keepdims=True)
        better = error < least
        codes, scales = np.where(better, rounded, codes), np.where(better, scale, scales)
        least = np.minimum(error, least)
    stored: np.ndarray = (codes.reshape(rows, -1)[:, :width] + middle).astype(np.uint8)
    if bits == 4:
        stored = stored[:, 0::2] | stored[:, 1::2] << 4
    return stored, scales[:, :, 0]


def _read_by(graph: "GraphProto") -> dict[str, list["NodeProto"]]:
    """The readers of every fp32 matrix that a Gather reads by ids which are no constants."""
    from onnx import TensorProto

    constants = {tensor.name for tensor in graph.initializer}
    matrices = {t.name for t in graph.initializer if len(t.dims) == 2 and t.data_type == TensorProto.FLOAT}
    looked_up = {
        node.input[0]
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in matrices and node.input[1] not in constants
    }
    names = [tensor.name for tensor in graph.initializer if tensor.name in looked_up]
    return {name: [node for node in graph.node if name in node.input] for name in names}


def _unfit(table: np.ndarray, readers: Sequence["NodeProto"], bits: Bits) -> str:
    """Why a table is left as it is, or nothing."""
    if any(node.op_type != "Gather" for node in readers):
        return "it is read by more than look-ups"
    if any(item.name == "axis" and item.i for node in readers for item in node.attribute):
        return "its columns are looked up, not its rows"
    if table.shape[1] < NARROWEST:
        return f"its rows have {table.shape[1]} values, and a scale for fewer than {NARROWEST} saves too little"
    if bits == 4 and table.shape[1] % 2:
        return f"its rows have {table.shape[1]} values, and two share a byte"
    return ""
