"""The process that `answers.ask` starts: `python -m pipeline.tracking.answering QUESTION ANSWER`.

Imports nothing of the pipeline, so that the model's own copies of its modules are the ones that answer.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any


def told(table: Any) -> list[tuple[str, Any]]:
    """The rows of a served model's table."""
    if "value" in table:
        return [("", float(value)) for value in table["value"]]
    if "labels" in table:
        return [("|".join(names), dict(of)) for names, of in zip(table["labels"], table["probabilities"], strict=True)]
    return list(zip(table["label"], map(float, table["probability"]), strict=True))


def main(question: Path, answer: Path) -> None:
    """Loads the model, asks it everything at each batch size and writes each row's answer, as targets.Answer is."""
    warnings.simplefilter("ignore")
    import mlflow

    asked = json.loads(question.read_text("utf-8"))
    for name in [name for name in sys.modules if name.split(".")[0] == "pipeline"]:
        del sys.modules[name]  # `-m` itself has imported pipeline and pipeline.tracking
    model = mlflow.pyfunc.load_model(asked["uri"])
    rows = asked["inputs"]
    found = []
    for size in asked["sizes"]:
        answers = []
        for start in range(0, len(rows), size):
            answers += told(model.predict(rows[start : start + size]))
        found.append(answers)
    answer.write_text(json.dumps(found, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
