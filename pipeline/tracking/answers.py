"""Asks a registered or logged model in a fresh process, as a server would load it.

A process of its own, since in this one the pipeline's modules are loaded already and would stand in
for the copies that the model brought along.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import RegistryError
from pipeline.targets import Answer
from pipeline.tracking import store

WALL = 600.0  # seconds, after which a model that does not answer is given up


def ask(uri: str, inputs: Sequence[str], sizes: Sequence[int]) -> list[list[Answer]]:
    """The answers to all inputs, once for each batch size.

    Raises: RegistryError when the model refuses to load or to answer, with its own last words.
    """
    store.settings()
    package = str(Path(__file__).parents[2])
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "question.json", Path(folder) / "answer.json"
        question.write_text(json.dumps({"uri": uri, "inputs": list(inputs), "sizes": list(sizes)}), "utf-8")
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": store.tracking_uri(),
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
        }
        command = [sys.executable, "-m", "pipeline.tracking.answering", str(question), str(answer)]
        try:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=WALL)
        except subprocess.TimeoutExpired:
            raise RegistryError(f"{uri}: no answer within {WALL:.0f} s; expected one; try again") from None
        if done.returncode or not answer.exists():
            words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise RegistryError(f"{uri}: the model does not load or answer: {words[:400]}; register it again")
        found = json.loads(answer.read_text("utf-8"))
    return [[(text, numbers) for text, numbers in row] for row in found]
