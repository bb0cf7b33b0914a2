"""int8 with activation ranges fixed beforehand: convolutions and whatever else has no recurrence.

Weights are signed and per channel, activations unsigned: the pairing (u8s8) whose kernels are fast on x86.
On CPUs with VNNI no precision is lost; older ones may saturate sums of two products.
"""

import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline import graphs
from pipeline.compression import _calibration, _fp32, _maps, _pixels
from pipeline.errors import ConfigError
from pipeline.graphs import Feed

if TYPE_CHECKING:
    from onnx import ModelProto
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
    kept = [*_fp32.nodes(model), *config.fp32]
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
    _fp32.hold(quantised)
    _fp32.answer(quantised)
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
    kept = _fp32.nodes(model)
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
