"""What a run is made from, as tags: git commit, DVC hashes of its dependencies, experiment, data set."""

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import artifacts


def tags(task: str, stage: str) -> dict[str, str]:
    """The tags of one stage's run. What cannot be found out is left out: a run is never refused for it."""
    found = {"task": task, "stage": stage, "danlu.invocation": invocation()}
    found |= _git() | _dependencies(task, stage) | _data_set(task)
    for variable in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        if os.environ.get(variable):
            found[variable] = os.environ[variable]
    return {key: without_secrets(value) for key, value in found.items()}


def without_secrets(text: str) -> str:
    """The text with user names and passwords taken out of its URLs."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)


def invocation() -> str:
    """One word for all stages of one `dvc repro` or one flow run."""
    named = os.environ.get("DANLU_INVOCATION")
    if named:
        return named
    process = os.getppid()
    try:
        while process > 1:
            command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            if any(Path(os.fsdecode(word)).name == "dvc" for word in command[:3]):
                return f"dvc-{process}-{fields[19]}"  # with its start time: process ids are used again
            process = int(fields[1])
    except (OSError, IndexError, ValueError):
        pass  # no /proc on this system, or a process that has just ended
    return f"process-{os.getppid()}"


def _git() -> dict[str, str]:
    def ask(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        commit = ask("rev-parse", "HEAD")
        dirty = bool(ask("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git.commit": commit, "git.dirty": str(dirty).lower(), "mlflow.source.git.commit": commit}


def _yaml(path: Path) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(path.read_text("utf-8")) or {}
    except (OSError, YAMLError, ValueError):
        return {}


def _dependencies(task: str, stage: str) -> dict[str, str]:
    """DVC's hash of each dependency: a folder's as its own stage recorded it, a file's from its content."""
    locked = _yaml(Path("dvc.lock")).get("stages", {})
    made = {out["path"]: out.get("md5", "") for entry in locked.values() for out in entry.get("outs", [])}
    before = {dep["path"]: dep.get("md5", "") for dep in locked.get(f"{stage}@{task}", {}).get("deps", [])}
    found = {}
    for path in sorted(_dependency_paths(task, stage) | set(before)):
        if Path(path).is_file():
            md5 = hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
        else:
            md5 = made.get(path) or before.get(path, "")
        if md5:
            found[f"dvc.{path}"] = md5
    return found


def _dependency_paths(task: str, stage: str) -> set[str]:
    """The stage's `deps:` in dvc.yaml, with `${key}` and `${item.…}` put in."""
    block = _yaml(Path("dvc.yaml")).get("stages", {}).get(stage, {})
    item = _yaml(Path("params.yaml")).get("tasks", {}).get(task, {})

    def value(match: re.Match[str]) -> str:
        if match[1] == "key":
            return task
        found: Any = item
        for word in match[1].split(".")[1:]:
            found = found.get(word, "") if isinstance(found, Mapping) else ""
        return str(found)

    deps = block.get("do", block).get("deps", [])
    return {re.sub(r"\$\{([\w.]+)\}", value, dep) for dep in deps if isinstance(dep, str)}


def _data_set(task: str) -> dict[str, str]:
    try:
        source = artifacts.read_json(artifacts.folder("raw", task) / "source.json")
    except (OSError, ValueError):
        return {}
    return {f"data.{key}": str(source[key]) for key in ("source", "origin", "version", "licence") if key in source}
