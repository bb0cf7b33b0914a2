"""int8 with activation ranges fixed beforehand: convolutions and whatever else has no recurrence.

Weights are signed and per channel, activations unsigned: the pairing (u8s8) whose kernels are fast on x86.
On CPUs with VNNI no precision is lost; older ones may saturate sums of two products.
"""

import itertools
import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import graphs
from pipeline.compression import _calibration, _maps, _pixels
from pipeline.errors import ConfigError
from pipeline.graphs import Feed

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto
    from onnxruntime.quantization.calibrate import TensorsData as Ranges

log = logging.getLogger(__name__)
STORED = ("int8", "uint8")
Method = Literal["minmax", "entropy", "percentile"]
OPERATORS = (
    "Conv",
    "Gemm",
    "MatMul",
    "Gather",
    "Relu",
    "Clip",
    "Add",
    "Mul",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMax",
    "Concat",
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
)
WEIGHTED = ("Conv", "Gemm", "MatMul", "Gather")
"""Those that read weights, and may be left fp32 one by one."""
MOST = 8
"""Nodes that are left fp32 for a budget's sake: with more of them there is little left that is int8."""
HEAD_SHARE = 0.02
"""A last layer with at most this share of the weights stays fp32: it costs no size, a faster graph, surer answers."""
FEW_CHANNELS = 4
"""A convolution that reads at most so many channels stays fp32: gathering its windows byte by byte costs int8 more
than its arithmetic saves (2.7 times fp32's time for 5×5 over one channel), and it is the one that int8 blurs most. One
over several channels of the pixels that makes many is the exception: see `_pixels.stem`."""
CHUNK = 16
"""Calibration batches whose activations are held at once."""


@dataclass(frozen=True)
class Config:
    method: Method = "minmax"
    fp32: tuple[str, ...] = ()  # names of nodes that stay fp32 beside those that always do


def compress(
    source: Path, target: Path, config: Config, calibration: Sequence[Feed], ranges: "Ranges | None" = None
) -> None:
    """Writes the folded fp32 graph `source` as an int8 graph.

    ranges: those of `config.method`, where they are known; the calibration batches are then not needed.
    Raises: DataError for too few batches or a NaN in them, ConfigError for a node that the graph does not have.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    from pipeline.export import save, strip

    if ranges is None:
        ranges = measure(source, config.method, calibration)
    model = onnx.load(source)
    _require(model, config.fp32)
    kept = [*_kept_fp32(model), *config.fp32]
    overrides: dict[str, Any] = {}
    stem = _pixels.stem(model)
    if stem is not None and stem.convolution.name not in kept:
        model, overrides = _pixels.read_levels(model, stem)
    _maps.pool_first(model, kept)
    _maps.average(model, kept, set(ranges.keys()))
    quantizer = QDQQuantizer(
        model,
        True,  # per channel
        False,  # the full range of 8 bits
        QuantType.QInt8,
        QuantType.QUInt8,
        ranges,
        [],
        kept,
        list(OPERATORS),
        {"TensorQuantOverrides": overrides},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised = quantizer.model.model
    _hold_fp32(quantised)
    _answer_in_fp32(quantised)
    strip(quantised)
    save(quantised, target)


def present(graph: Path) -> int:
    """How many operators read int8 weights."""
    return graphs.quantised(graph)


def measure(source: Path, method: Method, calibration: Sequence[Feed]) -> "Ranges":
    """The range of every activation, by which any number of int8 graphs of `source` can be written.

    Gathered chunk by chunk, so that memory does not grow with the calibration set.
    Raises: DataError for too few examples, or a number that is not finite.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    from pipeline.export import quietly

    _calibration.require(calibration)
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    with tempfile.TemporaryDirectory() as folder, quietly():
        calibrator = create_calibrator(
            source,
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=methods[method],
            providers=["CPUExecutionProvider"],
        )
        for chunk in _chunks(calibration):
            calibrator.collect_data(_Reader(chunk))
        return calibrator.compute_data()


def quantisable(source: Path) -> list[str]:
    """The names of the nodes that become int8 and have weights, from the input on."""
    import onnx

    model = onnx.load(source)
    weights = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1}
    kept = _kept_fp32(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.name not in kept and weights & set(node.input)
    ]


def fallback(
    source: Path,
    target: Path,
    config: Config,
    ranges: "Ranges",
    *,
    error: Callable[[Path], float],
    passes: Callable[[Path], bool],
    most: int = MOST,
) -> tuple[str, ...] | None:
    """Leaves more and more nodes fp32 until the int8 graph passes; returns their names, or None where none passes.

    First each node is left fp32 alone; then they are together, first those whose graph had the lowest `error`, such as
    the distance of its answers from fp32's, and at most `most`. `config.fp32` stays fp32 in every graph. `target` has
    the last graph tried.
    """
    names = [name for name in quantisable(source) if name not in config.fp32]
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / "tried.onnx"
        for name in names:
            compress(source, tried, replace(config, fp32=(*config.fp32, name)), [], ranges)
            errors[name] = error(tried)
    order = sorted(names, key=lambda name: errors[name])
    for count in range(1, min(most, len(order)) + 1):
        left = (*config.fp32, *order[:count])
        compress(source, target, replace(config, fp32=left), [], ranges)
        log.info("int8 with %s left fp32", ", ".join(left))
        if passes(target):
            return left
    return None


class _Reader:
    """Batches in the form that ONNX Runtime's calibrators ask for."""

    def __init__(self, feeds: Sequence[Feed]):
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


def _chunks(calibration: Sequence[Feed]) -> Iterator[list[Feed]]:
    """Up to `CHUNK` batches of one shape at a time: the histograms are made from stacked arrays."""

    def shapes(feed: Feed) -> list[tuple[int, ...]]:
        return [array.shape for array in feed.values()]

    for _, alike in itertools.groupby(sorted(calibration, key=shapes), key=shapes):
        feeds = list(alike)
        for start in range(0, len(feeds), CHUNK):
            yield feeds[start : start + CHUNK]


def _require(model: "ModelProto", names: Sequence[str]) -> None:
    """Raises: ConfigError for a name that no node has."""
    known = {node.name for node in model.graph.node}
    for name in names:
        if name not in known:
            raise ConfigError(f"static_int8: found {name!r} among the nodes to leave fp32; expected nodes of the graph")


def _answer_in_fp32(model: "ModelProto") -> None:
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


def _hold_fp32(model: "ModelProto") -> None:
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


def _kept_fp32(model: Any) -> list[str]:
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


def _powers(model: Any) -> list[str]:
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


def _unscaled(model: Any, sizes: Mapping[str, int]) -> tuple[list[str], set[str]]:
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


def _channels_read(convolution: Any, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """By one of its windows, over all groups; infinite where its weights are computed."""
    groups = next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)
    shape = shapes.get(convolution.input[1])
    return groups * shape[1] if shape else math.inf
