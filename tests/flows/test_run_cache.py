"""DVC's run cache hashes a stage without its keys `size` and `nfiles`, at any depth: no setting has such a name.

A stage whose changed setting it does not see would be brought back as it was, without a word.
"""

import dataclasses
import importlib
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from dvc.stage.cache import _get_cache_hash
from ruamel.yaml import YAML

from pipeline import check, config
from pipeline.config import UNSEEN

ROOT = Path(__file__).parents[2]


def configs() -> dict[str, type]:
    """The Config of every plug-in and every section, by module."""
    files = [*ROOT.glob("pipeline/*.py"), *ROOT.glob("pipeline/*/*.py")]
    having = [file for file in files if re.search(r"^class Config\b", file.read_text("utf-8"), re.MULTILINE)]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in having]
    return {name: importlib.import_module(name).Config for name in sorted(names)}


def fields(cls: type, where: str) -> Iterator[tuple[str, str]]:
    """Place and name of each field, those of sections inside sections too."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield where, field.name
        for inner in _sections(hints[field.name]):
            yield from fields(inner, f"{where}.{field.name}")


def _sections(hint: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(hint):
        yield typing.cast(type, hint)
    for part in typing.get_args(hint):
        yield from _sections(part)


def test_no_setting_has_a_name_that_the_run_cache_leaves_out() -> None:
    found = configs()
    sections = [f"pipeline.{name}" for name in check.MODULES.values()]
    folders = [*check.FOLDERS_BY_KIND.values(), *check.FOLDERS_BY_NAME.values(), "validation", "tokenisers"]
    elsewhere = {"pipeline.evaluate", "pipeline.compress"}  # whose Config is that of a module they read it from
    assert set(sections) - elsewhere <= set(found) and {"pipeline.quality", "pipeline.weighing"} <= set(found)
    assert all(any(name.startswith(f"pipeline.{folder}.") for name in found) for folder in folders)
    named = [place for module, cls in found.items() for place in fields(cls, module)]
    assert ("pipeline.preparation.text.clean", "urls") in named, "sections inside sections are walked"
    assert [place for place in named if place[1] in UNSEEN] == []


def test_the_reason_still_stands() -> None:
    """Where it does not, DVC sees every key, and the names are free."""

    def hashed(key: str, value: int) -> str:
        params = {"params.yaml": {"tasks.a.prepare": {"tokeniser": {key: value}}}}
        return str(_get_cache_hash({"cmd": "x", "params": params}, key=True))

    assert all(hashed(key, 1) == hashed(key, 2) for key in UNSEEN)
    assert hashed("pieces", 1) != hashed("pieces", 2)


COMMAND = (
    "import pathlib; from pipeline import config; "
    "side = config.task('cells').of_kind('prepare', 'preparation')[1].side; "
    "pathlib.Path('made').write_text(str(side)); open('runs', 'a').write(f'{side} ')"
)


def test_another_side_alone_prepares_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the settings that dvc.yaml gives prepare: a side of before comes back, a new one runs."""
    graph = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["prepare"]["do"]
    stage = {"cmd": f'python -c "{COMMAND}"', "params": graph["params"], "outs": ["made"]}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yaml = YAML()
    yaml.dump({"stages": {"prepare": {"foreach": "${tasks}", "do": stage}}}, Path("dvc.yaml"))
    made = []
    for side in (32, 64, 32):
        task: dict[str, Any] = {name: {} for name in config.SECTIONS}
        task |= {"kind": "image", "prepare": {"side": side}}
        yaml.dump({"tasks": {"cells": task}}, Path("params.yaml"))
        repo = Repo.init(no_scm=True) if not made else Repo()
        repo.reproduce()
        repo.close()
        made.append(Path("made").read_text())
    assert made == ["32", "64", "32"]
    assert Path("runs").read_text() == "32 64 "
