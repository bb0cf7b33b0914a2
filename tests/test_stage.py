"""What every stage shares: a known error is one line and an exit code, a crash stays a traceback."""

import logging
from pathlib import Path

import pytest

from pipeline import stage
from pipeline.errors import BudgetError, ChangingError, DataError, TrainingError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    return tmp_path


@pytest.mark.parametrize(("error", "code"), [(DataError, 2), (TrainingError, 3), (BudgetError, 4), (ChangingError, 5)])
def test_a_known_error_is_one_line_and_its_exit_code(here, capsys, error, code):
    def work():
        raise error("data/raw: found nothing; expected rows; add some")

    with pytest.raises(SystemExit) as ended:
        stage.run_over_all("report", work)
    assert ended.value.code == code
    assert capsys.readouterr().err == "report: data/raw: found nothing; expected rows; add some\n"
    assert not (here / ".danlu/seconds").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_that_names_the_folder(here, capsys):
    def work():
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(SystemExit) as ended:
        stage.run_over_all("report", work)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1 and str(here) in said and "MB free" in said and "run again" in said


def test_any_other_fault_is_not_hidden(here):
    with pytest.raises(FileNotFoundError):
        stage.run_over_all("report", lambda: Path("missing").read_text())


def test_the_seconds_of_a_stage_are_kept(here):
    stage.run_over_all("report", lambda: None)
    assert float((here / ".danlu/seconds/report.json").read_text()) >= 0
