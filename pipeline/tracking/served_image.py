"""A registered image model as MLflow serves it: raw images in, labels and probabilities or values out.

A row is an image file's content, as bytes in the same process or as base64 over HTTP. File names and
URLs are refused: a server that opened them would read its own disk or network for whoever asks.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from numpy.typing import NDArray

from pipeline.features import decoding
from pipeline.tracking import bundle, serving

DECIDES = ("size", "fit", "channels", "quality", "background")  # what `decoding.pixels` is told
EXPECTED = "an image file's content as base64; file names and URLs are not opened"
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")


class ServedImage(PythonModel):
    """Decodes and resizes with the code that prepared the training images."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["bundle"])
        self.record = bundle.verify(folder, (context.model_config or {}).get("sha256"))
        settings = self.record["preparation"]
        self.limits = decoding.Limits(settings["max_bytes"], settings["max_pixels"])
        self.graph = serving.Graph(folder / "model.onnx", serving.engine(self.record))

    def predict(self, context: Any, model_input: list[str | bytes], params: dict[str, Any] | None = None) -> Any:
        contents = [content(row, k) for k, row in enumerate(serving.rows(model_input))]
        parts = []
        for start in range(0, len(contents), serving.ROWS_AT_ONCE):
            chunk = contents[start : start + serving.ROWS_AT_ONCE]
            images = np.stack([self.pixels(item, k) for k, item in enumerate(chunk, start)])
            parts.append(self.graph.logits(images=images))
        return serving.table(np.concatenate(parts), self.record)

    def pixels(self, item: bytes, row: int) -> NDArray[np.uint8]:
        """uint8 [H, W, C], as preparation made them."""
        settings = self.record["preparation"]
        try:
            return decoding.pixels(item, self.limits, **{name: settings[name] for name in DECIDES})
        except decoding.Undecodable as error:
            serving.refuse(row, f"an image that cannot be read: {error.reason}", EXPECTED)


def content(row: object, k: int) -> bytes:
    """The bytes of one row."""
    if isinstance(row, bytes | bytearray):
        return bytes(row)
    if not isinstance(row, str):
        serving.refuse(k, type(row).__name__, EXPECTED)
    text = _DATA_URL.sub("", row.strip(), count=1)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        serving.refuse(k, repr(row[:40]), EXPECTED)


set_model(ServedImage())
