"""int8 by NNCF, OpenVINO's own quantiser, as one ONNX graph that ONNX Runtime runs too.

It corrects the bias that rounded weights give every layer, and leaves the first and last layers in int8.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import graphs
from pipeline.compression import _calibration
from pipeline.graphs import Feed

STORED = ("int8", "uint8")
INSTALL = "pip install 'danlu[openvino]'"


@dataclass(frozen=True)
class Config:
    pass


def installed() -> bool:
    return importlib.util.find_spec("nncf") is not None


def compress(source: Path, target: Path, config: Config, calibration: Sequence[Feed]) -> None:
    """Writes the folded fp32 graph `source` as an int8 graph.

    Raises: DataError for too few batches or a NaN in them.
    """
    import onnx

    from pipeline.export import quietly, save, strip

    os.environ.setdefault("NNCF_CI", "1")  # without it, NNCF tells its makers of every call over the network
    with quietly():
        import nncf

        _calibration.require(calibration)
        dataset = nncf.Dataset(list(calibration))
        quantised = nncf.quantize(onnx.load(source), dataset, subset_size=len(calibration))
    strip(quantised)
    save(quantised, target)


def present(graph: Path) -> int:
    """How many operators read int8 weights."""
    return graphs.quantised(graph)
