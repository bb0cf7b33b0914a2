"""DVC does not follow imports: a dep forgotten in dvc.yaml is a stale model. This guard follows them.

It does so for the tasks of params.yaml, and for one of each kind with every source and every model that there is.
"""

import ast
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from ruamel.yaml import YAML

from pipeline import judging
from pipeline.folding import answering
from pipeline.initial import settings as initial
from pipeline.tokenisers import _words
from pipeline.tracking import packaging

ROOT = Path(__file__).parents[2]
# Their change alters no result: messages and exit codes, settings (DVC hashes those), logs of runs, and what brings
# weights and answers of a registered version, which tune has written down.
EXCLUDED = {f"pipeline/{name}.py" for name in ("errors", "config", "wording", "stage")} | {
    f"pipeline/tracking/{name}.py"
    for name in ("runs", "journal", "delivery", "provenance", "store", "trained", "teacher", "teaching")
}
# The others take less than a minute, and equal outputs end the matter; but for crossvalidate and suspects, which walk
# the stages of both kinds, whose files one list of dvc.yaml cannot tell apart.
COSTLY = {"tune", "train"}
PLUGINS = {"of_kind": 1, "named": 1, "plugin": 0}  # position of the folder among the call's arguments


@dataclass(frozen=True)
class Stage:
    step: str
    task: str
    settings: dict[str, Any] | None  # the task's block; None where the stage stands once for all
    paths: set[str]
    params: set[str]
    outs: set[str]

    @property
    def code(self) -> set[str]:
        return {path for path in self.paths if path.startswith("pipeline/") and path.endswith((".py", ".j2"))}


def file_of(module: str) -> str | None:
    """The project's file of a dotted name; None for other packages' and for empty files."""
    for path in (Path(*module.split(".")).with_suffix(".py"), Path(*module.split("."), "__init__.py")):
        if (ROOT / path).is_file() and (ROOT / path).stat().st_size:
            return path.as_posix()
    return None


@cache
def imports(path: str) -> frozenset[str]:
    """The project's files that a file names in its imports, those inside functions too, or runs by their name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"pipeline(\.\w+)+", str(node.value)):
            names.add(str(node.value))
    return frozenset(file for name in names if name.startswith("pipeline") and (file := file_of(name)))


@cache
def folders(path: str) -> frozenset[str]:
    """The plug-in folders that a file's calls of `of_kind`, `named` and `plugin` name, and those of its settings."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setting":
            words = [word.value for word in node.keywords if word.arg == "folder"]
            found |= {str(word.value) for word in words if isinstance(word, ast.Constant)}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PLUGINS:
            config_call = isinstance(node.func.value, ast.Name) and node.func.value.id == "config"
            place = 0 if config_call else PLUGINS[node.func.attr]
            word = node.args[place] if len(node.args) > place else None
            if word is not None:
                assert isinstance(word, ast.Constant), f"{path}:{word.lineno}: expected the folder as a plain word"
                found.add(str(word.value))
    return frozenset(found)


def plugins(folder: str, task: dict[str, Any]) -> set[str]:
    """The files in a plug-in folder that a task uses: the one it names, or the one of its kind, or all."""
    section = {"sources": "source", "models": "model"}.get(folder)
    name = task[section]["name"] if section else task["kind"]
    file = f"pipeline/{folder}/{name}.py"
    if (ROOT / file).is_file():
        return {file}
    return {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline" / folder).glob("[a-z]*.py")}


def closure(start: str, task: dict[str, Any] | None) -> set[str]:
    """Every file whose change may alter what a stage's module does for a task."""
    seen: set[str] = set()
    waiting = {start}
    while waiting:
        path = waiting.pop()
        if path in seen or path in EXCLUDED:
            continue
        seen.add(path)
        waiting |= imports(path)
        if task:
            for folder in folders(path):
                waiting |= plugins(folder, task)
    return seen


def tasks() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text("utf-8"))["tasks"]
    return loaded


def kinds(module: Path) -> tuple[str, ...]:
    """Of a source or a model; both where its settings decide, as with a delivery."""
    said = re.search(r"^KIND = (\S+)", module.read_text("utf-8"), re.MULTILINE)
    assert said, f"{module}: expected a line KIND = …"
    return ("image", "text") if said[1] == "None" else (said[1].strip('"'),)


def modules(folder: str, kind: str) -> list[str]:
    """The names of the sources or the models for tasks of a kind."""
    files = sorted((ROOT / "pipeline" / folder).glob("[a-z]*.py"))
    return [path.stem for path in files if kind in kinds(path)]


def choices() -> dict[str, Any]:
    """A task for each source and each model that a user may choose, with the sections of a task of params.yaml."""
    found = {}
    for kind in ("image", "text"):
        sections = next(task for task in tasks().values() if task["kind"] == kind)
        for source in modules("sources", kind):
            for model in modules("models", kind):
                chosen = {"source": {"name": source, "path": f"my/{kind}"}, "model": {"name": model}}
                found[f"{kind}-{source}-{model}"] = sections | chosen
    return found


# Reached by an import, but by no call of this step: train loads, evaluate weighs terms too, none fits.
FITTING = {
    f"pipeline/features/{name}.py" for name in ("_skipgram", "paraphrases", "pretrained", "sums", "synonyms", "vectors")
}
WEIGHING = {f"pipeline/features/{name}.py" for name in ("bag", "ngrams", "terms")}
NOT_CALLED = {"tune": FITTING | WEIGHING, "train": FITTING | WEIGHING, "evaluate": FITTING}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    """Each stage of dvc.yaml for each task: name, task, and the paths and parameters that it depends on."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "dvc.yaml", root)
    every = tasks() | choices()
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump({"tasks": every}, file)
    with Repo.init(str(root), no_scm=True) as repo:
        return [_stage(stage, every) for stage in repo.index.stages]


def _stage(stage: Any, every: dict[str, Any]) -> Stage:
    step, _, task = stage.name.partition("@")
    paths, params = set(), set()
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            params |= set(dep.params)
        else:
            paths.add(dep.def_path)
    return Stage(step, task, every.get(task), paths, params, {out.def_path for out in stage.outs})


def expected(stage: Stage) -> set[str]:
    found = closure(f"pipeline/{stage.step}.py", stage.settings)
    if stage.step == "register" and stage.settings:  # the served model carries these files with it
        served = f"pipeline/tracking/served_{stage.settings['kind']}.py"
        carried = {f"pipeline/{name}" for name in packaging.CODE} | {served}
        found |= {path for path in carried if (ROOT / path).stat().st_size}
    if stage.step in ("examine", "suspects", "report"):
        found.add(f"pipeline/{stage.step}.html.j2")
    return found - EXCLUDED - NOT_CALLED.get(stage.step, set())


def test_every_stage_depends_on_all_its_code(stages: list[Stage]) -> None:
    missing = {f"{s.step}@{s.task}": lacks for s in stages if (lacks := expected(s) - s.code)}
    assert not missing, "dvc.yaml lacks deps"


def test_no_stage_depends_on_code_that_it_cannot_reach(stages: list[Stage]) -> None:
    """What the other kind or another source alone imports is allowed where a stage is cheap, and nowhere else; but for
    what several models share, which dvc.yaml cannot tell from a model's name.
    """
    for stage in stages:
        surplus = {path for path in stage.code - expected(stage) if not path.startswith("pipeline/models/_")}
        if stage.step not in COSTLY:
            surplus -= everything(stage.step)
        assert not surplus, f"{stage.step}@{stage.task} has deps that its code never imports"


@cache
def everything(step: str) -> set[str]:
    """What the step would need for some source and some model of either kind."""
    return set().union(*(closure(f"pipeline/{step}.py", task) for task in choices().values()))


def test_every_folder_and_section_that_a_stage_names_is_declared(stages: list[Stage]) -> None:
    for stage in stages:
        text = (ROOT / f"pipeline/{stage.step}.py").read_text("utf-8")
        folders = set(re.findall(r'folder\("(\w+)", \w', text))
        known = {path.split("/")[1] for path in stage.paths | stage.outs if path.startswith("data/")}
        assert folders <= known, f"{stage.step}: reads or writes data/{folders - known}"
        sections = set(re.findall(r'(?:section|of_kind|named)\("(\w+)", \w', text)) - {"models"}
        declared = {name.rpartition(".")[2] for name in stage.params}
        assert stage.params == {"tasks"} or sections <= declared, f"{stage.step}: reads the sections {sections}"


@pytest.mark.parametrize(("kind", "model"), [("image", "resnet"), ("text", "textcnn")])
def test_the_folds_answers_depend_on_all_code_that_decides_them_and_none_that_no_kind_runs(
    kind: str, model: str
) -> None:
    """What is kept of a fold holds as long as these stay; of the other kind nothing runs, and of ranks there is one."""
    task = {"kind": kind, "model": {"name": model}}
    hashed = {path.relative_to(ROOT).as_posix() for path in answering._code(kind, model) if path.stat().st_size}
    reached = closure("pipeline/folding/refit.py", task) | closure("pipeline/folds.py", task)
    other = {"image": "text", "text": "image"}[kind]
    reached = {path for path in reached if Path(path).stem not in (other, "ranks")}
    assert reached - hashed - EXCLUDED == set()
    assert hashed - reached - everything("folding/refit") == set()
    assert f"pipeline/models/{model}.py" in hashed and "pipeline/models/cnn.py" not in hashed


@pytest.mark.parametrize(("kind", "model"), [("image", "resnet"), ("text", "textcnn")])
def test_what_folds_say_of_a_variant_depends_on_all_code_that_decides_it(kind: str, model: str) -> None:
    """Beside what decides a fold's answers: what makes the variant, and asks it."""
    task = {"kind": kind, "model": {"name": model}}
    package = ROOT / "pipeline"
    hashed = {path.relative_to(ROOT).as_posix() for path in answering._code(kind, model)}
    own = (path for pattern in judging.CODE for path in package.glob(f"{pattern}.py"))
    hashed |= {path.relative_to(ROOT).as_posix() for path in own}
    weigh = {f"pipeline/{name}.py" for name in ("budget", "gate", "latency", "profiling", "quality", "weighing")}
    other = {"image": "text", "text": "image"}[kind]
    reached = closure("pipeline/folding/compressed.py", task) - weigh  # these make no answer
    assert {path for path in reached - hashed - EXCLUDED if Path(path).stem not in (other, "ranks")} == set()


def test_what_measures_time_or_takes_every_core_runs_alone() -> None:
    found = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    alone = {name for name, stage in found.items() if stage.get("do", stage).get("meta", {}).get("exclusive")}
    assert alone == {"compress", "crossvalidate", "suspects"}


def test_a_local_source_is_a_dependency(stages: list[Stage]) -> None:
    for stage in stages:
        if stage.step == "fetch" and stage.settings:
            assert stage.settings["source"]["path"] in stage.paths


def test_a_users_dictionaries_are_a_dependency(stages: list[Stage]) -> None:
    assert all(str(_words.FOLDER) in stage.paths for stage in stages if stage.step == "prepare")
    assert all({"dictionaries", "vectors"} <= stage.paths for stage in stages if stage.step == "featurize")
    assert (ROOT / _words.FOLDER).is_dir() and (ROOT / "vectors").is_dir()


def test_a_users_weights_are_a_dependency_of_what_names_those_that_a_task_uses(stages: list[Stage]) -> None:
    """Not of train itself: another task's weights are no reason to train this one anew."""
    assert {stage.step for stage in stages if str(initial.FOLDER) in stage.paths} == {"tune"}
    assert (ROOT / initial.FOLDER).is_dir()
