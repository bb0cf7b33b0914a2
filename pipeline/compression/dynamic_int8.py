"""int8 weights with activation ranges found at every call: recurrent networks, attention, and linear models over terms.

The graph must be folded first: a weight behind a Transpose or an Identity would silently stay fp32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import graphs, rowwise
from pipeline.graphs import Feed

STORED = ("int8", "uint8")
BY_CHANNEL, BY_DIRECTION = ("MatMul", "Gather"), ("LSTM",)
"""Operators by what of their weights has a scale of its own; a table that is gathered from has one. One a channel takes
a seventh of an LSTM's time, as it is applied at every token, and on the reviews brings no answer nearer to fp32: the
states, which are rounded at every token too, lose more."""


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

    model = onnx.load(source)
    for operators in (BY_CHANNEL, BY_DIRECTION):
        quantizer = ONNXQuantizer(
            model,
            operators == BY_CHANNEL,
            False,  # the full range of 8 bits
            QuantizationMode.IntegerOps,
            False,  # not static
            QuantType.QInt8,
            QuantType.QUInt8,
            None,
            [],
            [],
            list(operators),
            {"MatMulConstBOnly": True},
        )
        with quietly():  # it warns of a DequantizeLinear, as if the graph were quantised already
            quantizer.quantize_model()
        quantizer.model.topological_sort()
        model = quantizer.model.model
    strip(model)
    rowwise.mark(model)
    save(model, target)


def present(graph: Path) -> int:
    """How many operators read int8 weights."""
    return graphs.quantised(graph)
