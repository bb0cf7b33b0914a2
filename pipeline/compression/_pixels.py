"""The convolution over an image's pixels in int8: the grey levels are codes already, so that what it reads is exact.

ONNX Runtime's int8 convolution reads codes of one scale and one zero point, and pads with that zero. A scale and a mean
of each channel go into the weights and the bias, and pixels of the mean stand for the padding: the same answer.

A convolution that steps by two reads blocks of 2×2 pixels as one pixel of 4·C channels, so that it gathers fewer and
longer pieces: 7×7 at 224 px takes 0.58 ms in place of 0.78, the blocks made.

B examples, H height, W width, C channels of the pixels, O channels of the answer, K×L the size of a window.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WIDE = 64
"""Channels of the answer, at least, where there are no blocks."""
PRODUCTS = 576
"""O·K·L, at least, where there are blocks: with fewer, gathering windows of a few bytes a pixel costs int8 what its
arithmetic saves (at 224 px with a pool behind it: 7×7 to 32 channels takes 0.58 ms in fp32 and 0.41 in int8, 3×3 to 32
takes 0.19 and 0.23)."""
SCALE, ZERO = "grey_scale", "grey_zero"


@dataclass(frozen=True)
class Stem:
    """images uint8 [B, H, W, C] → transposed → read, by a scale and a zero point a channel → convolution."""

    transpose: "NodeProto"
    read: "NodeProto"
    convolution: "NodeProto"


def stem(model: "ModelProto") -> Stem | None:
    """The convolution that reads the pixels and is faster in int8, of an image model as export writes it."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        read = makers.get(node.input[0]) if node.op_type == "Conv" else None
        transpose = makers.get(read.input[0]) if read is not None and read.op_type == "DequantizeLinear" else None
        if read is None or transpose is None or transpose.op_type != "Transpose":
            continue
        constants = (*node.input[1:], *read.input[1:])
        own = all(readers[name] == 1 for name in (transpose.output[0], read.output[0], *constants))
        if own and set(constants) <= set(shapes) and transpose.input[0] == graph.input[0].name:
            found = Stem(transpose, read, node)
            return found if _suits(model, found, shapes[node.input[1]], shapes[read.input[1]]) else None
    return None


def _suits(model: "ModelProto", found: Stem, weights: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether it is a plain convolution of two dimensions over several channels of what came last, and large enough."""
    outputs, channels, *window = weights
    given = _attributes(found.convolution)
    plain = given.get("group", 1) == 1 and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    turned = _attributes(found.transpose).get("perm") == [0, 3, 1, 2] and _attributes(found.read).get("axis") == 1
    if not plain or not turned or scale != (channels,) or channels < 2:
        return False
    return outputs * math.prod(window) >= PRODUCTS if _more(model, found, window) is not None else outputs >= WIDE


def read_levels(model: "ModelProto", found: Stem) -> tuple["ModelProto", dict[str, Any]]:
    """The model whose `found` convolution reads grey levels by one scale and zero point; and these, by the name of what
    it reads, as ONNX Runtime's quantiser takes them.
    """
    import onnx
    from onnx import numpy_helper

    graph, node = model.graph, found.convolution
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scale, means = (arrays[name] for name in found.read.input[1:])
    zero = np.uint8(means.mean().round())
    weights = arrays[node.input[1]] * scale[:, None, None]
    shift = weights.sum((2, 3), dtype=np.float64) @ (float(zero) - means)
    bias = arrays[node.input[2]] + shift if len(node.input) > 2 else shift
    more = _more(model, found, weights.shape[2:])
    if more is not None or (means != zero).any():
        size = _border(model, found, more or (0, 0))
        if more is not None:
            weights = _by_blocks(model, found, weights, size)
    weighed = {f"{node.name}_weights": weights, f"{node.name}_bias": bias.astype(np.float32)}
    levels = {SCALE: np.array(1, np.float32), ZERO: np.array(zero)}
    node.input[1:] = list(weighed)
    found.read.input[1:] = list(levels)
    del found.read.attribute[:]  # its axis: there is one scale for all
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (weighed | levels).items())
    drop_unread(model)
    del graph.value_info[:]
    overrides = {node.input[0]: [{"scale": levels[SCALE], "zero_point": levels[ZERO]}]}
    return onnx.shape_inference.infer_shapes(model), overrides


def _size(model: "ModelProto") -> list[int]:
    """H, W, C of the images."""
    return [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]


def _more(model: "ModelProto", found: Stem, window: Sequence[int]) -> tuple[int, int] | None:
    """Rows below and columns to the right that blocks of two need beside the padding; None where blocks do not do."""
    given = _attributes(found.convolution)
    if given.get("strides") != [2, 2] or given.get("dilations", [1, 1]) != [1, 1]:
        return None
    pads = given.get("pads", [0] * 4)
    more = []
    for axis, length in enumerate(window):
        wide = _size(model)[axis] + pads[axis] + pads[axis + 2]
        steps = (wide - length) // 2
        more.append(2 * (steps + (length + 1) // 2) - wide)
    return (more[0], more[1]) if min(more) >= 0 else None


def _by_blocks(model: "ModelProto", found: Stem, weights: np.ndarray, size: list[int]) -> np.ndarray:
    """Lets the convolution step by one over blocks of 2×2 pixels of the images of `size` H, W, C, and returns its
    weights [O, C, K, L] as [O, 4·C, K/2, L/2], K and L rounded up: a block's rows, then its columns, then channels.
    """
    from onnx import helper, numpy_helper

    graph, (height, width, channels) = model.graph, size
    constants = {
        "blocks_shape": np.array([0, height // 2, 2, width // 2, 2 * channels], np.int64),
        "blocks_rows": np.array([1, 1], np.int64),
        "blocks_axis": np.array([2], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    upper, lower = (["blocks_upper", "blocks_lower"], ["blocks_above", "blocks_below"])
    nodes = [
        helper.make_node("Reshape", [found.transpose.input[0], "blocks_shape"], ["blocks_paired"]),
        helper.make_node("Split", ["blocks_paired", "blocks_rows"], upper, axis=2),
        *(helper.make_node("Squeeze", [a, "blocks_axis"], [b]) for a, b in zip(upper, lower)),
        helper.make_node("Concat", lower, ["blocks"], axis=3),
    ]
    at = list(graph.node).index(found.transpose)
    for node in reversed(nodes):
        graph.node.insert(at, node)
    found.transpose.input[0] = "blocks"
    outputs, _, *window = weights.shape
    even = np.pad(weights, [(0, 0), (0, 0), *((0, length % 2) for length in window)])
    rows, columns = (length // 2 for length in even.shape[2:])
    for attribute in found.convolution.attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [1, 1]
        elif attribute.name == "kernel_shape":
            attribute.ints[:] = [rows, columns]
    parted = even.reshape(outputs, channels, rows, 2, columns, 2)
    return parted.transpose(0, 3, 5, 1, 2, 4).reshape(outputs, 4 * channels, rows, columns)


def _border(model: "ModelProto", found: Stem, more: tuple[int, int]) -> list[int]:
    """Puts pixels of the mean around the images in place of the convolution's padding, and `more` below and to the
    right; returns the images' H, W, C then.
    """
    from onnx import helper, numpy_helper

    graph, images, means = model.graph, model.graph.input[0], found.read.input[2]
    top, left, bottom, right = _attributes(found.convolution).get("pads", [0] * 4)
    size = _size(model)
    nodes = []
    wide = images.name
    for axis, ends in ((2, (left, right + more[1])), (1, (top, bottom + more[0]))):
        parts = [wide]
        for end, count in zip(("before", "after"), ends):
            if not count:
                continue
            name = f"border_{end}_{axis}"
            shape = np.array([*size[: axis - 1], count, *size[axis:]], np.int64)
            graph.initializer.append(numpy_helper.from_array(shape, f"{name}_size"))
            nodes.append(helper.make_node("Concat", ["border_batch", f"{name}_size"], [f"{name}_shape"], axis=0))
            nodes.append(helper.make_node("Expand", [means, f"{name}_shape"], [name]))
            parts = [name, *parts] if end == "before" else [*parts, name]
        if len(parts) == 1:
            continue
        wide = f"border_{axis}"
        nodes.append(helper.make_node("Concat", parts, [wide], axis=axis))
        size[axis - 1] += sum(ends)
    if nodes:
        nodes.insert(0, helper.make_node("Shape", [images.name], ["border_batch"], "border_batch", start=0, end=1))
    at = list(graph.node).index(found.transpose)
    for node in reversed(nodes):
        graph.node.insert(at, node)
    found.transpose.input[0] = wide
    for attribute in found.convolution.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0] * 4
    return size


def drop_unread(model: "ModelProto") -> None:
    """Takes out the constants that no node reads."""
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


def _attributes(node: "NodeProto") -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
