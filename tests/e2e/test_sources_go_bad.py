"""A source that DVC cannot hash costs its own task alone, and one that has changed is told of."""

import os
from collections.abc import Callable

import pytest

from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_other_task_runs_and_the_bad_one_is_reported(fresh: Callable[[], Project]) -> None:
    project = fresh()
    os.mkfifo(project.folder / "photos/cells/broken/pipe")
    refused = project.danlu("run", "cells", code=2)
    assert refused.stderr.startswith("params.yaml: tasks.cells.source.path: found photos/cells/broken/pipe")
    part = project.danlu("run", "opinions", "--until", "fetch").stdout
    assert "fetch@opinions  ran" in part and "git add" not in part
    with (project.folder / "opinions.csv").open("a", encoding="utf-8") as file:
        file.write("还可以，价格合适,pos\n")
    everything = project.danlu("run", "--until", "validate", code=2)
    said = " ".join(everything.stdout.split())
    for words in ("fetch@cells FAILED", "validate@cells skipped", "fetch@opinions ran", "validate@opinions ran"):
        assert words in said
    assert "a named pipe" in said and "git add" not in said
    assert "a named pipe" in (project.folder / ".danlu/logs/fetch@cells.log").read_text()


def test_an_export_says_that_what_it_writes_is_old(fresh: Callable[[], Project]) -> None:
    project = fresh()
    project.danlu("run", "opinions", "--until", "prepare")
    assert project.danlu("export", "opinions", "--out", "a").stderr == ""
    with (project.folder / "opinions.csv").open("a", encoding="utf-8") as file:
        file.write("还可以，价格合适,pos\n")
    said = project.danlu("export", "opinions", "--out", "b")
    assert said.stderr.startswith("data/prepared/opinions: older than params.yaml, the source or the code (stages to")
    assert "fetch" in said.stderr and said.stderr.count("\n") == 1 and "b: wrote" in said.stdout
    project.set({"opinions": {"prepare": {"clean": {"urls": "hide"}}}})
    refused = project.danlu("export", "opinions", "--out", "c", code=2)
    assert "urls: found 'hide'" in refused.stderr and not (project.folder / "c").exists()
