"""The process that `teacher.ask` starts: `python -m pipeline.tracking.teaching URI FOLDER ROWS`.

Imports nothing of the pipeline, so that the model's own copies of its modules are the ones that answer.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path


def main(uri: str, folder: Path, rows: int) -> None:
    """Asks the model the texts of inputs.jsonl, so many at a time, and writes names.json and answers.npy."""
    warnings.simplefilter("ignore")
    import mlflow
    import numpy as np

    for name in [name for name in sys.modules if name.split(".")[0] == "pipeline"]:
        del sys.modules[name]  # `-m` itself has imported pipeline and pipeline.tracking
    model = mlflow.pyfunc.load_model(uri)
    names: list[str] = []
    found = []
    with (folder / "inputs.jsonl").open(encoding="utf-8") as file:
        while some := [json.loads(line) for line in itertools.islice(file, rows)]:
            table = model.predict(some)
            if "probabilities" in table:
                names = names or list(table["probabilities"].iloc[0])
                found += [[answer[name] for name in names] for answer in table["probabilities"]]
            else:
                found += [[float(value)] for value in table["value"]]
    np.save(folder / "answers.npy", np.array(found, np.float64))
    (folder / "names.json").write_text(json.dumps(names, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
