"""The stage compress at work on the project of conftest.py."""

import shutil

from pipeline import artifacts, compress, quality
from pipeline.config import Task

WANTED = quality.Config("macro_f1", resamples=100)
STATIC = {"schemes": ["static_int8"], "calibration": "minmax"}


def changed(task, **settings):
    """The task with these settings of compress."""
    return Task(task.name, task.kind, {**task.raw, "compress": {**task.raw["compress"], **settings}})


def entries(root):
    return artifacts.read_json(root / "data/compressed/talk/compress.json")["candidates"]


def of_net(trained, task, monkeypatch, tmp_path):
    """The network's entry of compress.json, in a copy of the project or in the copy of before."""
    root = tmp_path / "talk"
    if trained is not None:
        shutil.copytree(trained, root)
    monkeypatch.chdir(root)
    with artifacts.fresh(root / "out") as out:
        return compress.of_net(task, task.section("compress", compress.Config), WANTED, out)
