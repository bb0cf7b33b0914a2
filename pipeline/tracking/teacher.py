"""Asks a registered model many things in a fresh process, with the code that it brought along, for all its answers."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

from pipeline.errors import RegistryError, StoppedError
from pipeline.tracking import store

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 256  # rows that the process holds
NAMES, ANSWERS = "names.json", "answers.npy"
LOADS, EACH = 900.0, 2.0  # seconds that a model may take to load, and to answer an example: many times what any needs
POLL = 0.1  # seconds


def ask(uri: str, inputs: Iterable[str], stop: Callable[[], bool] = lambda: False) -> "tuple[list[str], np.ndarray]":
    """What its outputs are called, and its probabilities or values float64 [N, O] of all inputs.

    Raises: RegistryError when the model refuses to load or to answer, with its own last words, or takes too long;
    StoppedError where `stop`, which is asked every now and then, says so.
    """
    import numpy as np

    store.settings()
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.tracking_uri(), "PYTHONPATH": paths}
    with tempfile.TemporaryDirectory() as folder:
        count = 0
        with (Path(folder) / "inputs.jsonl").open("w", encoding="utf-8") as file:
            for row in inputs:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
        command = [sys.executable, "-m", "pipeline.tracking.teaching", uri, folder, str(AT_ONCE)]
        said = Path(folder) / "said.txt"
        with said.open("wb") as words_of, _started(command, folder, environment, words_of) as process:
            until = time.monotonic() + (limit := LOADS + EACH * count)
            while process.poll() is None:
                if stop():
                    raise StoppedError("train: stopped while the teacher answered; run again to ask it anew")
                if time.monotonic() > until:
                    raise RegistryError(
                        f"{uri}: the teacher has not answered {count:,} examples within {limit:.0f} s; expected it to; "
                        "take a quicker one, or give its answers as train.teacher.file"
                    )
                time.sleep(POLL)
        if process.returncode or not (Path(folder) / NAMES).exists():
            words = (said.read_text("utf-8", "replace").strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise RegistryError(f"{uri}: the teacher does not load or answer: {words[:400]}; register it again")
        names: list[str] = json.loads((Path(folder) / NAMES).read_text("utf-8"))
        return names, np.load(Path(folder) / ANSWERS, allow_pickle=False)


@contextmanager
def _started(
    command: Sequence[str], folder: str, environment: dict[str, str], said: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone after the block, with all that it started."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.kill()
            process.wait()
