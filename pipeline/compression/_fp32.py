"""What stays fp32 in a graph of static int8, and how it is kept so when ONNX Runtime loads the graph."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.compression import _pixels

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

log = logging.getLogger(__name__)
HEAD_SHARE = 0.02
"""A last layer with at most this share of the weights stays fp32: it costs no size, a faster graph, surer answers."""
FEW_CHANNELS = 4
"""A convolution that reads at most so many channels stays fp32: gathering its windows byte by byte costs int8 more
than its arithmetic saves (2.7 times fp32's time for 5×5 over one channel), and it is the one that int8 blurs most. A
large one over the pixels of several channels is the exception: see `_pixels.stem`."""


def nodes(model: "ModelProto") -> list[str]:
    """The names of convolutions over the pixels themselves but for large ones, of last layers with a small share of all
    weights, and of products of a value with itself, whose largest would leave the others few of the 256 steps.
    """
    from onnx import numpy_helper

    shapes = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in model.graph.initializer}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    kept, outputs = _unscaled(model, sizes)
    stem = _pixels.stem(model)
    for node in model.graph.node:
        last = outputs & set(node.output) and node.op_type in ("Gemm", "MatMul", "Add")
        if last and sum(sizes.get(name, 0) for name in node.input) <= HEAD_SHARE * sum(sizes.values()):
            kept.append(node.name)
        few = node.op_type == "Conv" and _channels_read(node, shapes) <= FEW_CHANNELS
        if few and (stem is None or node.name != stem.convolution.name):
            kept.append(node.name)
    return kept + _powers(model)


def _powers(model: "ModelProto") -> list[str]:
    """The names of nodes that multiply a value by itself, once or several times."""
    found: list[str] = []
    of: dict[str, str] = {}  # by the name of a power the value that it is one of
    for node in model.graph.node:
        if node.op_type == "Mul":
            bases = {of.get(name, name) for name in node.input}
            if len(bases) == 1:
                found.append(node.name)
                of[node.output[0]] = bases.pop()
    return found


def _unscaled(model: "ModelProto", sizes: Mapping[str, int]) -> tuple[list[str], set[str]]:
    """The names of last nodes that only scale and shift, which make a value of an output; and what these read."""
    makers = {name: node for node in model.graph.node for name in node.output}
    kept, output = [], model.graph.output[0].name
    while output in makers and makers[output].op_type in ("Mul", "Add"):
        node = makers[output]
        read = [name for name in node.input if sizes.get(name) != 1]
        if len(read) != 1:
            break
        kept.append(node.name)
        output = read[0]
    return kept, {output}


def _channels_read(convolution: "NodeProto", shapes: Mapping[str, tuple[int, ...]]) -> float:
    """By one of its windows, over all groups; infinite where its weights are computed."""
    groups = next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)
    shape = shapes.get(convolution.input[1])
    return groups * shape[1] if shape else math.inf


def hold(model: "ModelProto") -> None:
    """Keeps ONNX Runtime from what it does while it loads a graph: between codes of one scale each it makes int8 of a
    fp32 convolution's or Gemm's weights, by one scale for all channels. It leaves those that read a scale a channel
    (WeightBiasQuantization in its sources), so that this gives them one, all of the same value.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.value_info}
    for node in list(graph.node):
        maker = makers.get(node.input[0]) if node.op_type in ("Conv", "Gemm") and node.input[1] in arrays else None
        if maker is None or maker.op_type != "DequantizeLinear" or arrays[maker.input[1]].size > 1:
            continue
        if not _becomes_codes(node.output[0], graph):
            continue
        axis, count = _spread(node, arrays[node.input[1]].shape, sizes.get(node.input[0], []))
        if count < 2:
            log.info("%s may become int8 when the graph is loaded: what it reads has one channel", node.name)
            continue
        name = f"{node.name}_read"
        constants = {f"{name}_{k}": np.repeat(arrays[part].reshape(1), count) for k, part in enumerate(maker.input[1:])}
        graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in constants.items())
        reading = helper.make_node("DequantizeLinear", [maker.input[0], *constants], [name], name, axis=axis)
        graph.node.insert(list(graph.node).index(node), reading)
        node.input[0] = name
        if not any(maker.output[0] in other.input for other in graph.node):
            graph.node.remove(maker)


def _becomes_codes(name: str, graph: "GraphProto") -> bool:
    """Whether a value is quantised next, after a Relu or a Clip at most."""
    readers = [node for node in graph.node if name in node.input]
    if len(readers) != 1:
        return False
    (reader,) = readers
    between = reader.op_type in ("Relu", "Clip") and _becomes_codes(reader.output[0], graph)
    return between or reader.op_type == "QuantizeLinear"


def _spread(node: "NodeProto", weights: tuple[int, ...], read: Sequence[int]) -> tuple[int, int]:
    """An axis of what a Conv or a Gemm reads, of the shape `read` where that is known, and its length; 0 for unknown.

    The channels where there are several, else the rows of an image, which are as many in every batch.
    """
    numbers = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Gemm":
        return 1, weights[1 if numbers.get("transB") else 0]
    channels = weights[1] * numbers.get("group", 1)
    return (1, channels) if channels > 1 else (2, read[2] if len(read) > 2 else 0)


def answer(model: "ModelProto") -> None:
    """Takes the last codes out where a product of matrices makes the output, which it can make in fp32 in as much time:
    256 steps would make answers equal that are not, and cut those off that calibration has not seen.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    nodes: list[NodeProto] = []
    name = graph.output[0].name
    for wanted in (("DequantizeLinear",), ("QuantizeLinear",), ("Gemm", "MatMul")):
        if name not in makers or makers[name].op_type not in wanted or readers[name] > 1:
            return
        nodes.append(makers[name])
        name = makers[name].input[0]
    nodes[2].output[0] = graph.output[0].name
    for node in nodes[:2]:
        graph.node.remove(node)
    _pixels.drop_unread(model)
