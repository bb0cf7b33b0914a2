"""Asks a registered model many things in a fresh process, with the code that it brought along, for all its answers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.tracking import store

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 256  # rows that the process holds
NAMES, ANSWERS = "names.json", "answers.npy"


def ask(uri: str, inputs: Iterable[str]) -> "tuple[list[str], np.ndarray]":
    """What its outputs are called, and its probabilities or values float64 [N, O] of all inputs.

    Raises: RegistryError when the model refuses to load or to answer, with its own last words.
    """
    import numpy as np

    store.settings()
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.tracking_uri(), "PYTHONPATH": paths}
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "inputs.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in inputs)
        command = [sys.executable, "-m", "pipeline.tracking.teaching", uri, folder, str(AT_ONCE)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode or not (Path(folder) / NAMES).exists():
            words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise RegistryError(f"{uri}: the teacher does not load or answer: {words[:400]}; register it again")
        names: list[str] = json.loads((Path(folder) / NAMES).read_text("utf-8"))
        return names, np.load(Path(folder) / ANSWERS, allow_pickle=False)
