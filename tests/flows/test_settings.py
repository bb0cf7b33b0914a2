"""What a run sets: telemetry off, Prefect's folder inside the project, the stages' Python; the user's own words win."""

import os
import sys
from pathlib import Path

import pytest

from flows import settings
from pipeline.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")
    for name in (*settings.DEFAULTS, "PREFECT_HOME", "DANLU_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path


def test_it_enters_the_root_and_switches_telemetry_off(project: Path) -> None:
    settings.apply()
    assert Path.cwd() == project
    assert os.environ["PREFECT_HOME"] == str(project / ".danlu/prefect")
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DANLU_PYTHON"] == sys.executable
    assert os.environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_what_the_user_has_set_stays(project: Path) -> None:
    os.environ["PREFECT_HOME"] = "/elsewhere"
    settings.apply()
    assert os.environ["PREFECT_HOME"] == "/elsewhere"


def test_outside_of_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no dvc\.yaml here or above"):
        settings.apply()
