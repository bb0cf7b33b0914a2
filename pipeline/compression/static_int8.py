"""int8 with activation ranges fixed beforehand: convolutions and whatever else has no recurrence.

Weights are signed and per channel, activations unsigned: the pairing (u8s8) whose kernels are fast on x86.
On CPUs with VNNI no precision is lost; older ones may saturate sums of two products.
"""

import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.graphs import Feed

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
HEAD_SHARE = 0.02
"""A last layer with at most this share of the weights stays fp32: it costs no size, a faster graph, surer answers."""
FEW_CHANNELS = 4
"""A convolution that reads at most so many channels stays fp32: gathering its windows byte by byte costs int8 more
than its arithmetic saves (2.7 times fp32's time for 5×5 over one channel), and it is the one that int8 blurs most."""
CHUNK = 16
"""Calibration batches whose activations are held at once."""


@dataclass(frozen=True)
class Config:
    method: Literal["minmax", "entropy", "percentile"] = "minmax"


def compress(source: Path, target: Path, config: Config, calibration: Sequence[Feed]) -> None:
    """Writes the folded fp32 graph `source` as an int8 graph, its ranges taken from the calibration batches."""
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    from pipeline.export import save, strip

    ranges = _ranges(source, config, calibration)
    model = onnx.load(source)
    quantizer = QDQQuantizer(
        model,
        True,  # per channel
        False,  # the full range of 8 bits
        QuantType.QInt8,
        QuantType.QUInt8,
        ranges,
        [],
        _kept_fp32(model),
        list(OPERATORS),
        {},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised = quantizer.model.model
    strip(quantised)
    save(quantised, target)


class _Reader:
    """Batches in the form that ONNX Runtime's calibrators ask for."""

    def __init__(self, feeds: Sequence[Feed]):
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


def _ranges(source: Path, config: Config, calibration: Sequence[Feed]) -> Any:
    """The range of every activation, gathered chunk by chunk so that memory does not grow with the calibration set."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    from pipeline.export import quietly

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
            calibrate_method=methods[config.method],
            providers=["CPUExecutionProvider"],
        )
        for chunk in _chunks(calibration):
            calibrator.collect_data(_Reader(chunk))
        return calibrator.compute_data()


def _chunks(calibration: Sequence[Feed]) -> Iterator[list[Feed]]:
    """Up to `CHUNK` batches of one shape at a time: the histograms are made from stacked arrays."""

    def shapes(feed: Feed) -> list[tuple[int, ...]]:
        return [array.shape for array in feed.values()]

    for _, alike in itertools.groupby(sorted(calibration, key=shapes), key=shapes):
        feeds = list(alike)
        for start in range(0, len(feeds), CHUNK):
            yield feeds[start : start + CHUNK]


def _kept_fp32(model: Any) -> list[str]:
    """The names of convolutions over the pixels themselves, and of last layers with a small share of all weights."""
    from onnx import numpy_helper

    shapes = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in model.graph.initializer}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    kept, outputs = _unscaled(model, sizes)
    for node in model.graph.node:
        last = outputs & set(node.output) and node.op_type in ("Gemm", "MatMul", "Add")
        if last and sum(sizes.get(name, 0) for name in node.input) <= HEAD_SHARE * sum(sizes.values()):
            kept.append(node.name)
        if node.op_type == "Conv" and _channels_read(node, shapes) <= FEW_CHANNELS:
            kept.append(node.name)
    return kept


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
