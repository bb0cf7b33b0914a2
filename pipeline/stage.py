"""What every stage's `main` shares: its argument, its log, its time, and errors as one line with an exit code."""

import logging
import os
import sys
import time
from collections.abc import Callable

from pipeline import artifacts, config
from pipeline.errors import PipelineError


def run(stage: str, work: Callable[[config.Task], None]) -> None:
    """Runs one stage for the task named on the command line: `python -m pipeline.<stage> TASK`."""
    logging.basicConfig(level=os.environ.get("DANLU_LOG", "INFO"), format="%(message)s", stream=sys.stderr)
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m pipeline.{stage} TASK")
    started = time.monotonic()
    try:
        task = config.task(sys.argv[1])
        work(task)
    except PipelineError as error:
        print(f"{stage} {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    seconds = round(time.monotonic() - started, 3)
    artifacts.write_json(artifacts.STATE / "seconds" / task.name / f"{stage}.json", seconds)
