"""A source that DVC cannot hash costs its own task alone."""

import os
from collections.abc import Callable

import pytest

from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(600)


def test_the_other_task_runs_and_the_bad_one_is_reported(fresh: Callable[[], Project]) -> None:
    project = fresh()
    os.mkfifo(project.folder / "photos/cells/broken/pipe")
    refused = project.danlu("run", "cells", code=2)
    assert refused.stderr.startswith("params.yaml: tasks.cells.source.path: found photos/cells/broken/pipe")
    assert "record   git add" in project.danlu("run", "opinions", "--until", "fetch").stdout
    with (project.folder / "opinions.csv").open("a", encoding="utf-8") as file:
        file.write("还可以，价格合适,pos\n")
    everything = project.danlu("run", "--until", "validate", code=2)
    said = " ".join(everything.stdout.split())
    for words in ("fetch@cells FAILED", "validate@cells skipped", "fetch@opinions ran", "validate@opinions ran"):
        assert words in said
    assert "a named pipe" in said and "git add" not in said
    assert "a named pipe" in (project.folder / ".danlu/logs/fetch@cells.log").read_text()
