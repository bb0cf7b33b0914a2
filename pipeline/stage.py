"""What every stage's `main` shares: its argument, its log, its time, and errors as one line with an exit code."""

import contextlib
import errno
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline import artifacts, config
from pipeline.errors import PipelineError


def run(stage: str, work: Callable[[config.Task], None]) -> None:
    """Runs one stage for the task named on the command line: `python -m pipeline.<stage> TASK`."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m pipeline.{stage} TASK")
    name = sys.argv[1]
    _check(f"{stage} {name}", name)
    _run(f"{stage} {name}", lambda: work(config.task(name)), Path(name) / f"{stage}.json")


def run_over_all(stage: str, work: Callable[[], None]) -> None:
    """Runs a stage that stands once for all tasks: `python -m pipeline.<stage>`."""
    _run(stage, work, Path(f"{stage}.json"))


def _check(title: str, task: str) -> None:
    """Ends with 2 where params.yaml is wrong anywhere: a typo in `compress` is not to be found after the training.

    Of the sources the task's own alone is looked at.
    A run by the flow has been checked once, before its first stage.
    """
    if os.environ.get("DANLU_RUN"):
        return
    from pipeline import check

    if found := check.faults(sources_of=[task]):
        print("\n".join(f"{title}: {error}" for error in found), file=sys.stderr)
        sys.exit(PipelineError.exit_code)


def _run(title: str, work: Callable[[], None], seconds: Path) -> None:
    logging.basicConfig(level=os.environ.get("DANLU_LOG", "INFO"), format="%(message)s", stream=sys.stderr)
    started = time.monotonic()
    # Arrow's own allocator keeps what it once had: 70 MB more after reading 100,000 rows part by part.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _allow_files()
    try:
        work()
    except (PipelineError, OSError) as error:
        if not (told := known(error)):
            raise
        print(f"{title}: {told}", file=sys.stderr)
        sys.exit(told.exit_code)
    artifacts.write_json(artifacts.STATE / "seconds" / seconds, round(time.monotonic() - started, 3))


def known(error: BaseException) -> PipelineError | None:
    """What a user is told of an error in one line; None where it is our own mistake."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PipelineError(_full(error))
    return error if isinstance(error, PipelineError) else None


def _allow_files() -> None:
    """As many open files as the system lets this process have: every memory-mapped shard is one."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _full(error: OSError) -> str:
    place = Path(error.filename or artifacts.DATA).absolute()
    folder = next(path for path in (place, *place.parents) if path.is_dir())
    found = f"{error.strerror}, {shutil.disk_usage(folder).free / 1e6:,.0f} MB free"
    return f"{folder}: found {found}; expected room for the stage's output; free some and run again"
