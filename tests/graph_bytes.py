"""What the tests of compression measure in a graph's file."""

from collections.abc import Mapping
from pathlib import Path

import onnx


def weight_bytes(graph: Path) -> Mapping[str, int]:
    """Bytes of all constants by their element type, such as {"float32": 1200, "int8": 90000}."""
    counted: dict[str, int] = {}
    for tensor in onnx.load(graph).graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        counted[str(array.dtype)] = counted.get(str(array.dtype), 0) + array.nbytes
    return counted
