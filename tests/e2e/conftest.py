"""Projects with two small tasks, one that nothing has run and one that has been run."""

from collections.abc import Callable

import pytest

from tests.e2e.project import Project, with_small_tasks


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Makes a project with two small tasks that nothing has run yet."""
    return lambda: with_small_tasks(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(fresh: Callable[[], Project]) -> Project:
    """The same after `danlu run cells`, the other task not run yet, and then `danlu run`; what both said is in run.log.

    Tests that change it put it back.
    """
    project = fresh()
    done = [project.danlu("run", "cells"), project.danlu("run")]
    (project.folder / "run.log").write_text("".join(d.stdout + d.stderr for d in done), "utf-8")
    return project
