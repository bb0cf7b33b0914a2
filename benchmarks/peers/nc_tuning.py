"""neural-compressor's tuning of an ONNX graph to an accuracy, in an interpreter that has neural-compressor 2.6.

The releases from 3.0 on read no ONNX. Arguments: a folder of exchange.py, and the drop of macro-F1 on validation that
is allowed. Writes neural-compressor-static.onnx and -dynamic.onnx and prints as its last line, in JSON, for each the
CPU seconds or why there is none.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import exchange

FP32 = {"activation": {"dtype": ["fp32"]}, "weight": {"dtype": ["fp32"]}}
CALIBRATED = 100  # neural-compressor's own default


class Calibration:
    """Batches of one, in the form that neural-compressor asks for."""

    batch_size = 1

    def __init__(self, folder: Path):
        self.feeds, self.labels = exchange.read(folder, "train")

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        yield from zip((next(iter(feed.values())) for feed in self.feeds), self.labels, strict=True)


def tuned(folder: Path, approach: str, max_drop: float) -> None:
    """Writes the first of the graphs that neural-compressor tries which keeps the drop."""
    import onnxruntime
    from neural_compressor import PostTrainingQuantConfig, quantization
    from neural_compressor.config import AccuracyCriterion

    feeds, labels = exchange.read(folder, "validation")

    def score(model: Any) -> float:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = exchange.outputs(lambda feed: session.run(None, feed)[0], feeds)
        return exchange.macro_f1(labels, found.argmax(axis=1))

    settings = PostTrainingQuantConfig(
        approach=approach,
        quant_level=1,  # else it stops at the first kinds of operators that do not keep the drop
        calibration_sampling_size=[CALIBRATED],
        op_type_dict=dict.fromkeys(("Add", "Mul"), FP32),  # in int8 it leaves inputs that nothing makes
        accuracy_criterion=AccuracyCriterion(criterion="absolute", tolerable_loss=max_drop),
    )
    calibration = Calibration(folder)
    model = quantization.fit(str(folder / "fp32.onnx"), settings, calib_dataloader=calibration, eval_func=score)
    if model is None:
        raise ValueError("found no graph that keeps the drop; its log says why")
    model.save(str(folder / f"neural-compressor-{approach}.onnx"))


def main() -> None:
    folder, max_drop = Path(sys.argv[1]), float(sys.argv[2])
    exchange.tell(
        {f"neural-compressor-{kind}": partial(tuned, folder, kind, max_drop) for kind in ("static", "dynamic")}
    )


if __name__ == "__main__":
    main()
