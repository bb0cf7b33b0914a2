"""int8 weights with activation ranges found at every call: recurrent networks, attention, and linear models over terms.

The graph must be folded first: a weight behind a Transpose or an Identity would silently stay fp32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import graphs, rowwise
from pipeline.graphs import Feed

STORED = ("int8", "uint8")
OPERATORS = ("MatMul", "LSTM", "Gather")


@dataclass(frozen=True)
class Config:
    pass


def compress(source: Path, target: Path, config: Config, calibration: Sequence[Feed]) -> None:
    """Writes the folded fp32 graph `source` with int8 weights; the calibration batches are not needed."""
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode

    from pipeline.export import quietly, save, strip

    quantizer = ONNXQuantizer(
        onnx.load(source),
        True,  # per channel
        False,  # the full range of 8 bits
        QuantizationMode.IntegerOps,
        False,  # not static
        QuantType.QInt8,
        QuantType.QUInt8,
        None,
        [],
        [],
        list(OPERATORS),
        {"MatMulConstBOnly": True},
    )
    with quietly():  # it takes the reading of pixels for a sign of a graph that is quantised already
        quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised = quantizer.model.model
    strip(quantised)
    rowwise.mark(quantised)
    save(quantised, target)


def present(graph: Path) -> int:
    """How many operators read int8 weights."""
    return graphs.quantised(graph)
