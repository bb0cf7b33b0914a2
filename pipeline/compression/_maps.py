"""Maps pooled in forms that stay fast in int8, for the same answers; an fp32 graph gains nothing by them."""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PRODUCTS = ("Conv", "Gemm", "MatMul")
TURNED = ("Reshape", "Flatten", "Squeeze")


def pool_first(model: "ModelProto", kept: Collection[str]) -> None:
    """Puts an activation that rises behind the MaxPool that alone reads it, where a node that is `kept` fp32 makes what
    it reads. ONNX Runtime moves a QuantizeLinear up through the pool, but not through the activation, and a pool over
    codes whose channels come first takes many times fp32's time.
    """
    graph = model.graph
    readers = Counter(name for node in graph.node for name in node.input)
    makers = {name: node for node in graph.node for name in node.output}
    for pool in [node for node in graph.node if node.op_type == "MaxPool" and len(node.output) == 1]:
        activation = makers.get(pool.input[0])
        if activation is None or not _rises(activation) or readers[pool.input[0]] > 1:
            continue
        maker = makers.get(activation.input[0])
        if maker is None or maker.name not in kept or readers[activation.input[0]] > 1:
            continue
        pool.input[0], activation.output[0] = activation.input[0], pool.output[0]
        pool.output[0] = activation.input[0] = f"{pool.name}_pooled"
        graph.node.remove(pool)
        graph.node.insert(list(graph.node).index(activation), pool)


def average(model: "ModelProto", kept: Collection[str], known: Collection[str]) -> None:
    """Makes a GlobalAveragePool, which int8 has, of a ReduceMean over whole maps that int8 products alone read.

    ONNX Runtime would else turn codes to fp32, and the maps to channels first, for each. Where another reads the mean
    it stays fp32. kept: names of nodes that do. known: names of values of known range.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    for node in graph.node:
        if node.op_type != "ReduceMean" or node.name in kept or ranks.get(node.input[0]) != 4:
            continue
        axes = arrays.get((*node.input, "")[1], np.array([]))
        kept_axes = all(helper.get_attribute_value(item) for item in node.attribute if item.name == "keepdims")
        if sorted(axes.ravel() % 4) != [2, 3] or not kept_axes or not {node.input[0], node.output[0]} <= set(known):
            continue
        if _by_products(node.output[0], model, kept):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]


def _by_products(name: str, model: "ModelProto", kept: Collection[str]) -> bool:
    """Whether products that become int8 read the value, turned at most, and nothing else does."""
    readers = [node for node in model.graph.node if name in node.input]
    read = (
        _by_products(node.output[0], model, kept)
        if node.op_type in TURNED
        else node.op_type in PRODUCTS and node.name not in kept
        for node in readers
    )
    return bool(readers) and all(read)


def _rises(node: "NodeProto") -> bool:
    """Whether it is an activation, of fixed bounds, of which a larger value never gets a smaller answer."""
    slope = next((attribute.f for attribute in node.attribute if attribute.name == "alpha"), 0.01)
    return node.op_type in ("Relu", "Clip") or (node.op_type == "LeakyRelu" and slope >= 0)
