"""As a new user would: from a folder of images and a table of texts to answers, on the real stages."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.project import Project

STEPS = ["fetch", "validate", "split", "prepare", "examine", "featurize", "baseline"]
STEPS += ["tune", "train", "crossvalidate", "suspects", "compress", "evaluate", "register"]
pytestmark = pytest.mark.timeout(1200)


def test_a_run_ends_with_a_table_of_what_happened(finished: Project) -> None:
    said = (finished.folder / "run.log").read_text()
    for step in STEPS:
        for task in ("cells", "opinions"):
            assert f"{step}@{task}" in said
    assert "opinions version 1: champion" in said
    assert "danlu predict cells" in said
    assert "git add dvc.lock params.yaml data/metrics data/profiles data/splits" in said
    assert (finished.folder / "data/report/index.html").stat().st_size > 10_000


def test_the_summary_has_every_headline_figure(finished: Project) -> None:
    tasks = json.loads(finished.danlu("summary", "--json").stdout)["tasks"]
    for task in tasks.values():
        assert set(task) == {"candidates", "registered", "cross_validation", "rows", "leaks", "seconds"}
        assert set(task["candidates"]) == {"baseline", "net"}
        net = task["candidates"]["net"]
        for variant in ("trained", "control", "compressed"):
            figure = net["metrics"][variant]["accuracy"]
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert net["bytes"][net["variant"]] < net["bytes"]["fp32"]
        assert all(0 < taken["median"] <= taken["p95"] for taken in net["latency_ms"][net["variant"]].values())
        assert set(net["speedup"]) >= {"vs_eager", "vs_onnx_fp32"}
        assert task["registered"]["aliases"] == ["champion"]
        assert task["rows"]["read"] == task["rows"]["kept"] + sum(task["rows"]["quarantined"].values())
        assert set(task["seconds"]) == set(STEPS)


def test_the_registered_models_answer(finished: Project) -> None:
    image = next((finished.folder / "photos/cells/broken").iterdir())
    (answer,) = json.loads(finished.danlu("predict", "cells", "--json", str(image)).stdout)
    assert answer["label"] in ("broken", "fine")
    answers = json.loads(finished.danlu("predict", "opinions", "--json", "质量很好，非常喜欢", "太差了").stdout)
    assert {answer["label"] for answer in answers} <= {"pos", "neg"}
    assert [answer["input"] for answer in answers] == ["质量很好，非常喜欢", "太差了"]


def test_with_nothing_changed_nothing_runs_and_prefect_is_not_started(finished: Project) -> None:
    done = finished.danlu("run")
    assert "starting Prefect" not in done.stderr
    assert "29 stages" in done.stdout and "unchanged" in done.stdout
    assert "opinions version 1: champion" in done.stdout


def test_dvc_repro_alone_agrees_and_needs_no_activated_environment(finished: Project) -> None:
    environment = finished.environment | {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": ""}
    repro = finished.start("dvc", "repro", stdout=subprocess.PIPE)
    said, _ = repro.communicate(timeout=120)
    assert repro.returncode == 0
    assert "Running stage" not in said and "are up to date" in said
    no_python = subprocess.run(
        ["sh", "pipeline/stage.sh", "fetch", "cells"],
        cwd=finished.folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert no_python.returncode == 2
    assert no_python.stderr.count("\n") == 1 and "make setup" in no_python.stderr


@pytest.mark.slow
def test_one_added_file_runs_that_task_alone(finished: Project) -> None:
    before = finished.hashes("raw", "validated", "prepared")
    added = finished.folder / "photos/cells/fine/added.png"
    added.write_bytes(changed(next((finished.folder / "photos/cells/fine").glob("*.png"))))
    try:
        done = finished.danlu("run", "--until", "prepare")
        assert ran(done.stdout) == {"fetch@cells", "validate@cells", "split@cells", "prepare@cells"}
        after = finished.hashes("raw", "validated", "prepared")
        differ = {path for path in after if after[path] != before[path]}
        assert differ == {"data/raw/cells", "data/validated/cells", "data/prepared/cells"}
    finally:
        added.unlink()
    again = finished.danlu("run")  # the run cache has every output of before, but for those that are kept
    kept = {"validate@cells", "split@cells"}
    assert kept <= ran(again.stdout) <= kept | {"prepare@cells", "examine@cells"}


def ran(table: str) -> set[str]:
    return {line.split()[0] for line in table.splitlines() if "@" in line and " ran " in f"{line} "}


def changed(path: Path) -> bytes:
    """The image turned upside down: another content, and no near duplicate."""
    from io import BytesIO

    from PIL import Image, ImageOps

    with Image.open(path) as image:
        turned = BytesIO()
        ImageOps.flip(image).save(turned, "png")
    return turned.getvalue()


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train", {"epochs": 0}, "tasks.cells.train.epochs: found 0"),
        ("train", {"epoch": 3}, "tasks.cells.train.epoch: unknown key (did you mean 'epochs'?)"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(
    finished: Project, section: str, values: dict[str, int], words: str
) -> None:
    params = finished.folder / "params.yaml"
    good = params.read_text("utf-8")
    try:
        finished.set({"cells": {section: values}})
        done = finished.danlu("run", code=2)
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        params.write_text(good, "utf-8")


def test_a_stages_own_error_is_shown_once_with_its_exit_code(finished: Project) -> None:
    """A source that goes missing after the check: the other task is not touched."""
    params = finished.folder / "params.yaml"
    good = params.read_text("utf-8")
    try:
        finished.set({"opinions": {"source": {"label_column": "lable"}}})
        done = finished.danlu("run", code=2)
        assert "fetch@opinions ended with 2" in done.stdout
        assert "lable" in done.stdout
        assert "skipped: a stage before it failed" in done.stdout
    finally:
        params.write_text(good, "utf-8")
