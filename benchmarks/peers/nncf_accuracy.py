"""NNCF's accuracy control over OpenVINO and over ONNX, in an interpreter that has nncf, openvino and onnxruntime.

Arguments: a folder of exchange.py, and the drop of macro-F1 on validation that is allowed. Writes nncf-openvino.xml and
nncf-onnx.onnx, and prints as its last line, in JSON, for each the CPU seconds or why there is none.
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import exchange
import nncf
import numpy as np

CALIBRATED = 300  # NNCF's own default


def controlled(model: Any, folder: Path, max_drop: float, ask: Callable[[Any], Callable[[exchange.Feed], Any]]) -> Any:
    """The quantised model; `ask` makes of what NNCF hands out a function from a batch to logits."""
    feeds, _ = exchange.read(folder, "train")
    asked, labels = exchange.read(folder, "validation")

    def score(compiled: Any, items: Iterable[tuple[exchange.Feed, int]]) -> tuple[float, None]:
        pairs = list(items)
        answers = exchange.outputs(ask(compiled), [feed for feed, _ in pairs]).argmax(axis=1)
        return exchange.macro_f1(np.array([label for _, label in pairs]), answers), None

    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(feeds),
        validation_dataset=nncf.Dataset(list(zip(asked, labels, strict=True)), lambda pair: pair[0]),
        validation_fn=score,
        max_drop=max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=min(CALIBRATED, len(feeds)),
    )


def over_openvino(folder: Path, max_drop: float) -> None:
    import openvino

    model = openvino.Core().read_model(folder / "fp32.onnx")
    found = controlled(model, folder, max_drop, lambda compiled: lambda feed: compiled(feed)[0])
    openvino.save_model(found, folder / "nncf-openvino.xml", compress_to_fp16=False)


def over_onnx(folder: Path, max_drop: float) -> None:
    import onnx
    import onnxruntime

    def ask(model: Any) -> Callable[[exchange.Feed], Any]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return lambda feed: session.run(None, feed)[0]

    found = controlled(onnx.load(folder / "fp32.onnx"), folder, max_drop, ask)
    onnx.save(found, folder / "nncf-onnx.onnx")


def main() -> None:
    folder, max_drop = Path(sys.argv[1]), float(sys.argv[2])
    runs = {"nncf-openvino": over_openvino, "nncf-onnx": over_onnx}
    exchange.tell({name: partial(run, folder, max_drop) for name, run in runs.items()})


if __name__ == "__main__":
    main()
