"""The convolution over an image's pixels in int8: the grey levels are codes already, so that what it reads is exact.

ONNX Runtime's int8 convolution reads codes of one scale and one zero point, and pads with that zero. A scale and a mean
of each channel go into the weights and the bias, and pixels of the mean stand for the padding: the same answer.

A convolution that steps by two reads blocks of 2×2 pixels as one pixel of 4·C channels, so that it gathers fewer and
longer pieces: 7×7 at 224 px takes 0.58 ms in place of 0.78, the blocks made. Where O is small it reads blocks of 2×4
and makes two answers of each, side by side, as 2·O channels, which fill a kernel's registers. All this suits ONNX
Runtime, whose int8 keeps channels last; OpenVINO, which does not, moves the answers once more.

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
arithmetic saves (at 224 px with a pool behind it: 7×7 to 32 channels takes 0.60 ms in fp32 and 0.39 in int8, 3×3 to 32
takes 0.21 and 0.23; 5×5 to 16 gains 0.05 there, in whole networks of 64 to 128 px next to nothing)."""
NARROW = 32
"""Channels of the answer, at most, where two answers are made at a time (7×7 at 224 px with a pool: to 16 channels 0.26
ms in place of 0.36, to 32 0.39 in place of 0.42, to 64 0.66 in place of 0.62)."""
GROWTH = 0.08
"""Share of the graph's weights, at most, that it has more for two answers at a time: zeros around the windows."""
ACTIVATIONS = ("Relu", "Clip")
"""Those that ONNX Runtime's quantiser takes into what is before them."""
SCALE, ZERO = "grey_scale", "grey_zero"


@dataclass(frozen=True)
class Stem:
    """images uint8 [B, H, W, C] → transposed → read, by a scale and a zero point a channel → convolution."""

    transpose: "NodeProto"
    read: "NodeProto"
    convolution: "NodeProto"


@dataclass(frozen=True)
class Blocks:
    """How a convolution reads blocks of two rows and `2·answers` columns."""

    answers: int  # that it makes of each, side by side
    made: tuple[int, int]  # answers, top to bottom and left to right
    lacking: tuple[int, int]  # rows below and columns to the right, beside the padding


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
    return outputs * math.prod(window) >= PRODUCTS if _blocks(model, found, weights) else outputs >= WIDE


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
    blocks = _blocks(model, found, weights.shape)
    if blocks or (means != zero).any():
        size = _border(model, found, blocks.lacking if blocks else (0, 0))
        if blocks:
            weights, bias = _by_blocks(model, found, weights, size, blocks), np.tile(bias, blocks.answers)
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


def _blocks(model: "ModelProto", found: Stem, weights: Sequence[int]) -> Blocks | None:
    """weights: O, C, K, L. None where blocks do not do."""
    given, (outputs, channels, *window) = _attributes(found.convolution), weights
    if given.get("strides") != [2, 2] or given.get("dilations", [1, 1]) != [1, 1]:
        return None
    pads = given.get("pads", [0] * 4)
    wide = [_size(model)[axis] + pads[axis] + pads[axis + 2] for axis in (0, 1)]
    made = [(length - reach) // 2 + 1 for length, reach in zip(wide, window)]
    for answers in (2, 1):
        reached = _reached(window[0], 1), _reached(window[1], answers)
        lacking = 2 * made[0] + reached[0] - 2 - wide[0], 2 * made[1] + reached[1] - 2 * answers - wide[1]
        more = (answers * math.prod(reached) - math.prod(window)) * outputs * channels
        narrow = outputs <= NARROW and made[1] % 2 == 0 and more <= GROWTH * _weights(model)
        if min(lacking) >= 0 and (answers == 1 or (narrow and _may_move(model, found.convolution))):
            return Blocks(answers, (made[0], made[1]), lacking)
    return None


def _weights(model: "ModelProto") -> int:
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == tensor.FLOAT)


def _may_move(model: "ModelProto", node: "NodeProto") -> bool:
    """Whether what `_apart` makes is read by no activation: ONNX Runtime's quantiser takes one for the end of what is
    before it, whose range it must know.
    """
    name = _last(model, node).output[0]
    return not any(other.op_type in ACTIVATIONS for other in model.graph.node if name in other.input)


def _last(model: "ModelProto", node: "NodeProto") -> "NodeProto":
    """The activation that alone reads what a node makes, else the node."""
    readers = [other for other in model.graph.node if node.output[0] in other.input]
    return readers[0] if len(readers) == 1 and readers[0].op_type in ACTIVATIONS else node


def _reached(window: int, answers: int) -> int:
    """Pixels, in whole blocks of `2·answers`, that so many windows two pixels apart reach over."""
    return 2 * answers * math.ceil((window + 2 * (answers - 1)) / (2 * answers))


def _by_blocks(
    model: "ModelProto", found: Stem, weights: np.ndarray, size: Sequence[int], blocks: Blocks
) -> np.ndarray:
    """Lets the convolution step by one over blocks of the images of `size` H, W, C; returns what it weighs them by, of
    its weights [O, C, K, L]: for each of the answers side by side O, of a block's rows the columns, and of these C.
    """
    from onnx import helper, numpy_helper

    graph, node, (height, width, channels) = model.graph, found.convolution, size
    across = 2 * blocks.answers
    constants = {
        "blocks_shape": np.array([0, height // 2, 2, width // across, across * channels], np.int64),
        "blocks_rows": np.array([1, 1], np.int64),
        "blocks_axis": np.array([2], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    upper, lower = (["blocks_upper", "blocks_lower"], ["blocks_above", "blocks_below"])
    _insert(
        model,
        found.transpose,
        helper.make_node("Reshape", [found.transpose.input[0], "blocks_shape"], ["blocks_paired"]),
        helper.make_node("Split", ["blocks_paired", "blocks_rows"], upper, axis=2),
        *(helper.make_node("Squeeze", [a, "blocks_axis"], [b]) for a, b in zip(upper, lower)),
        helper.make_node("Concat", lower, ["blocks"], axis=3),
    )
    found.transpose.input[0] = "blocks"
    outputs, _, *window = weights.shape
    spread = np.zeros(
        (blocks.answers, outputs, channels, _reached(window[0], 1), _reached(window[1], blocks.answers)), np.float32
    )
    for number, one in enumerate(spread):
        one[:, :, : window[0], 2 * number : 2 * number + window[1]] = weights
    rows, columns = spread.shape[3] // 2, spread.shape[4] // across
    for attribute in node.attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [1, 1]
        elif attribute.name == "kernel_shape":
            attribute.ints[:] = [rows, columns]
    if blocks.answers > 1:
        _apart(model, node, outputs, blocks)
    parted = spread.reshape(blocks.answers * outputs, channels, rows, 2, columns, across)
    return parted.transpose(0, 3, 5, 1, 2, 4).reshape(len(parted), 2 * across * channels, rows, columns)


def _apart(model: "ModelProto", node: "NodeProto", outputs: int, blocks: Blocks) -> None:
    """Lays answers that a convolution made side by side, as channels, beside each other, behind its activation. Where
    channels come last, as in ONNX Runtime's int8, this moves nothing.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    last = _last(model, node)
    name, shape = last.output[0], np.array([0, *blocks.made, outputs], np.int64)
    graph.initializer.append(numpy_helper.from_array(shape, "apart_shape"))
    for other in graph.node:
        other.input[:] = ["apart" if read == name else read for read in other.input]
    after = list(graph.node).index(last) + 1
    _insert(
        model,
        graph.node[after],
        helper.make_node("Transpose", [name], ["apart_last"], "apart_last", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["apart_last", "apart_shape"], ["apart_wide"], "apart_wide"),
        helper.make_node("Transpose", ["apart_wide"], ["apart"], "apart", perm=[0, 3, 1, 2]),
    )


def _insert(model: "ModelProto", before: "NodeProto", *nodes: "NodeProto") -> None:
    at = list(model.graph.node).index(before)
    for node in reversed(nodes):
        model.graph.node.insert(at, node)


def _border(model: "ModelProto", found: Stem, lacking: tuple[int, int]) -> list[int]:
    """Puts pixels of the mean around the images in place of the convolution's padding, and those that are lacking
    below and to the right; returns the images' H, W, C then.
    """
    from onnx import helper, numpy_helper

    graph, images, means = model.graph, model.graph.input[0], found.read.input[2]
    top, left, bottom, right = _attributes(found.convolution).get("pads", [0] * 4)
    size = _size(model)
    nodes = []
    wide = images.name
    for axis, ends in ((2, (left, right + lacking[1])), (1, (top, bottom + lacking[0]))):
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
    _insert(model, found.transpose, *nodes)
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
