"""A registered text model as MLflow serves it: raw sentences in, labels and probabilities or values out.

It cleans and cuts as preparation did, by the same files, and refuses to start with another version or
another dictionary: words cut elsewhere would be words the model has never seen.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from numpy.typing import NDArray

from pipeline.errors import RegistryError
from pipeline.features import cleaning, terms
from pipeline.tracking import bundle, serving

EXPECTED = "a text with something readable in it"
LONGEST = 1_000_000  # characters of one text


class ServedText(PythonModel):
    """The network reads token ids, the linear model weighted terms; which one, the bundle's record says."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["bundle"])
        self.record = bundle.verify(folder, (context.model_config or {}).get("sha256"))
        settings = self.record["preparation"]
        self.steps = cleaning.Steps(**_tuples(settings["clean"]))
        module = importlib.import_module(f"pipeline.tokenisers.{settings['tokeniser']['name']}")
        self.tokeniser = module.build(module.Config(**_tuples(settings["tokeniser"])), folder)
        same_words(settings["versions"], self.tokeniser.versions | cleaning.versions(self.steps))
        self.graph = serving.Graph(folder / "model.onnx", serving.engine(self.record))
        if self.record["candidate"] == "net":
            words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
            self.index = {word: k for k, word in enumerate(words)}
        else:
            self.terms = terms.Terms.of(json.loads((folder / "tfidf.json").read_text("utf-8")))

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> Any:
        read = [self.read(row, k) for k, row in enumerate(serving.rows(model_input))]
        answer = self.net if self.record["candidate"] == "net" else self.linear
        parts = [answer(read[k : k + serving.ROWS_AT_ONCE]) for k in range(0, len(read), serving.ROWS_AT_ONCE)]
        return serving.table(np.concatenate(parts), self.record)

    def read(self, row: object, k: int) -> tuple[list[str], str]:
        """The row's tokens and its cleaned text."""
        if not isinstance(row, str):
            serving.refuse(k, type(row).__name__, EXPECTED)
        if len(row) > LONGEST:
            serving.refuse(k, f"{len(row):,} characters", f"at most {LONGEST:,}")
        text = cleaning.clean(row, self.steps)
        if not text:
            serving.refuse(k, f"{row[:40]!r}, which is empty once cleaned", EXPECTED)
        return self.tokeniser.cut(text), text

    def net(self, read: list[tuple[list[str], str]]) -> NDArray[np.float32]:
        """Outputs [B, O] of token ids int64 [B, T]."""
        ids = [terms.encode(tokens, self.index) for tokens, _ in read]
        return self.graph.logits(ids=terms.padded(ids, self.record["length"]))

    def linear(self, read: list[tuple[list[str], str]]) -> NDArray[np.float32]:
        """Outputs [B, O] of term columns int64 [B, T] and weights float32 [B, T]; a weight of 0 counts for nothing."""
        weighted = [self.terms.weights(tokens, text) for tokens, text in read]
        width = max(1, max(len(columns) for columns, _ in weighted))
        columns = np.zeros((len(read), width), np.int64)
        weights = np.zeros((len(read), width), np.float32)
        for k, (found, values) in enumerate(weighted):
            columns[k, : len(found)] = found
            weights[k, : len(found)] = values
        return self.graph.logits(terms=columns, weights=weights)


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of a frozen Config, which has tuples where JSON has lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def same_words(trained: dict[str, str], here: dict[str, str]) -> None:
    """Raises: RegistryError where a package or a dictionary is not the one that prepared the training texts."""
    for key, found in here.items():
        if trained.get(key) != found:
            raise RegistryError(
                f"{key}: found {found}; expected {trained.get(key)}, with which the model was trained; "
                "install that version or register a model made here"
            )


set_model(ServedText())
