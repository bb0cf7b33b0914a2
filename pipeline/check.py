"""Checks params.yaml whole before any work starts, and shows a task's settings with every default filled in.

`python -m pipeline.check [--params FILE] [--settings | --show TASK]`: one line an error and exit code 2, or one line
`ok`. With --settings the sources are not looked at: a run answers for those of its own tasks.
"""

import argparse
import contextlib
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import config, folds, inference, quality, variants
from pipeline.augmentation.settings import require_images
from pipeline.config import PARAMS, Task
from pipeline.errors import ConfigError
from pipeline.fit import suited
from pipeline.initial import settings as initial
from pipeline.search import values as searched
from pipeline.sources import _asked as sources_asked
from pipeline.sources import _place
from pipeline.targets import Kind
from pipeline.tokenisers import _words
from pipeline.validation import _asked as validation_asked
from pipeline.validation import _settings

FOLDERS_BY_KIND = {"prepare": "preparation", "features": "features", "baseline": "baselines"}
FOLDERS_BY_NAME = {"source": "sources", "model": "models"}
MODULES = {
    "tune": "search.settings",
    "train": "fit.settings",
    "crossvalidate": "folds",
    "suspects": "suspects",
    "compress": "compress",
    "evaluate": "evaluate",
    "register": "register",
}


def _section(task: Task, name: str) -> Any:
    """The section as its frozen Config. Raises: ConfigError."""
    if name == "validate":
        return _settings.read(task)[1]
    if name in FOLDERS_BY_KIND:
        settings = task.of_kind(name, FOLDERS_BY_KIND[name])[1]
        if name == "prepare" and task.kind == "text":
            _existing(_words.users(settings.tokeniser), f"{task.where}.prepare.tokeniser")
        if name == "features" and task.kind == "text":
            given = {"vectors.file": settings.vectors.file, "synonyms.file": settings.synonyms.file}
            _existing({key: Path(path) for key, path in given.items() if path}, f"{task.where}.features")
        return settings
    if name in FOLDERS_BY_NAME:
        module, settings = task.named(name, FOLDERS_BY_NAME[name])
        if hasattr(module, "require"):
            module.require(settings, f"{task.where}.{name}")
        return settings
    parsed = task.section(name, importlib.import_module(f"pipeline.{MODULES[name]}").Config)
    if name == "compress":
        variants.check(parsed.schemes, f"{task.where}.compress.schemes")
        inference.engines(parsed.engines, parsed.target.device, f"{task.where}.compress.engines")
    if name == "train":
        require_images(parsed.mixing, task.kind, f"{task.where}.train")
        suited.require(parsed, task.kind, f"{task.where}.train")
        if isinstance(task.raw["model"], Mapping):
            initial.check(parsed.init, parsed.teacher, task.raw["model"], f"{task.where}.train")
    return parsed


def _existing(files: Mapping[str, Path], where: str) -> None:
    """Raises: ConfigError for a user's file that is not there."""
    for name, path in files.items():
        if not path.is_file():
            raise ConfigError(f"{where}.{name}: found {str(path)!r}, which is missing; expected a file; correct it")


def require_source(task: Task) -> None:
    """Raises: ConfigError for a source that is not there, or that DVC cannot hash."""
    where = f"{task.where}.source"
    _place.hashable(_place.existing(task.named("source", "sources")[1].path, where), where)


def faults(params: Path = PARAMS, sources_of: Collection[str] | None = None) -> list[ConfigError]:
    """All that is wrong in params.yaml: at most one error a section, or the one that keeps the file from being read.

    sources_of: the tasks whose sources are looked at too; every task's when left out.
    """
    try:
        tasks = [Task(name, raw["kind"], raw) for name, raw in config.load(params).items()]
    except ConfigError as error:
        return [error]
    looked_at = {task.name for task in tasks} if sources_of is None else sources_of
    return [error for task in tasks for error in _faults(task, task.name in looked_at)] + _shared_names(tasks)


def _shared_names(tasks: Sequence[Task]) -> list[ConfigError]:
    """Two tasks under one registered name would take each other's champion for their own."""
    owners: dict[str, str] = {}
    found = []
    for task in tasks:
        section = task.raw["register"]
        name = (isinstance(section, Mapping) and section.get("name")) or task.name
        if owner := owners.get(str(name)):
            found.append(
                ConfigError(f"{task.where}.register.name: found {name!r}, task {owner}'s; expected another name")
            )
        owners.setdefault(str(name), task.name)
    return found


def _faults(task: Task, look_at_source: bool) -> Iterator[ConfigError]:
    for name in config.SECTIONS[1:]:
        try:
            _section(task, name)
            if name == "source" and look_at_source:
                require_source(task)
        except ConfigError as error:
            yield error
    with contextlib.suppress(ConfigError):  # a section that is wrong has been told of
        yield from _unmet(task)
    with contextlib.suppress(ConfigError):
        yield from _misfit(task)
    with contextlib.suppress(ConfigError):
        yield from _unfolded(task)
    yield from _unsuited(task)
    yield from _unsearchable(task)


def _unsearchable(task: Task) -> Iterator[ConfigError]:
    """What is wrong with the search, and values of it that the model or the training does not take."""
    with contextlib.suppress(ConfigError):
        settings = _section(task, "tune")
        try:
            searched.check(task, settings, _of_trial)
        except ConfigError as error:
            yield error


def _of_trial(task: Task) -> Iterator[ConfigError]:
    """What is wrong with a task as far as a trial's values may make it so."""
    for name in ("model", "train"):
        try:
            _section(task, name)
        except ConfigError as error:
            yield error
    with contextlib.suppress(ConfigError):
        yield from _unmet(task)
    with contextlib.suppress(ConfigError):
        yield from _misfit(task)
    yield from _unsuited(task, ("train",))


def _unmet(task: Task) -> Iterator[ConfigError]:
    """What `train` asks of `features` that this is not told to make."""
    train, features, where = _section(task, "train"), _section(task, "features"), f"{task.where}.train"
    if task.kind != "text":
        if train.vectors != "off":
            yield ConfigError(f"{where}.vectors: found {train.vectors}; expected off: images have no words")
        return
    for name in ("synonyms", "insertion"):
        if (share := getattr(train.texts, name)) and features.synonyms.source == "off":
            yield ConfigError(f"{where}.texts.{name}: found {share:g}; expected 0, or features.synonyms.source: set it")
    if train.texts.paraphrase and not features.paraphrases.command:
        yield ConfigError(
            f"{where}.texts.paraphrase: found {train.texts.paraphrase:g}; expected 0, or features.paraphrases.command: "
            "set it"
        )
    if train.vectors != "off" and not (features.vectors.dimension or features.vectors.file):
        yield ConfigError(
            f"{where}.vectors: found {train.vectors}; expected off, or features.vectors.file or dimension: set one"
        )


def _misfit(task: Task) -> Iterator[ConfigError]:
    """What the model cannot read of what `prepare` and `features` make, as far as it is known without them."""
    module, model = task.named("model", "models")
    prepare, features, where = _section(task, "prepare"), _section(task, "features"), f"{task.where}.model"
    if task.kind == "text":
        size = features.length
    else:
        size = features.input if prepare.fit == "none" else prepare.side
    if size is not None and hasattr(module, "require_size"):
        try:
            module.require_size(model, size, where)
        except ConfigError as error:
            yield error
    if task.kind != "text" or (train := _section(task, "train")).vectors == "off":
        return
    found, name = f"{task.where}.train.vectors: found {train.vectors}", task.raw["model"]["name"]
    if not hasattr(module, "embedding"):
        yield ConfigError(f"{found}, where {name} has no embedding of tokens; expected off; set it, or another model")
        return
    key = "embedding" if hasattr(model, "embedding") else "width"
    values, given = getattr(model, key, None), features.vectors.dimension
    if given and values is not None and given != values:
        yield ConfigError(
            f"{found}, where features.vectors.dimension is {given} and model.{key} {values}; expected the same; set "
            f"model.{key}: {given}"
        )


def _unfolded(task: Task) -> Iterator[ConfigError]:
    """What cannot be cross-validated, or asks for folds where there are none."""
    train, wanted = (_section(task, name) for name in ("train", "crossvalidate"))
    asked, judge = _section(task, "suspects").rows, _section(task, "compress").budget.judge
    for require in (
        lambda: folds.require_unseen(wanted, train.init, train.teacher, task.where),
        lambda: folds.require_some(wanted, asked, task.where),
        lambda: folds.require_judges(wanted, judge, task.where),
    ):
        try:
            require()
        except ConfigError as error:
            yield error


def _unsuited(task: Task, names: Sequence[str] = ("validate", "tune", "train", "evaluate")) -> Iterator[ConfigError]:
    """What is set for another target than the source's, in sections that are sound in themselves."""
    try:
        asked = sources_asked.of(_section(task, "source"))
    except ConfigError:
        return
    checks: dict[str, Callable[[Any, Kind, str], None]] = {
        "validate": validation_asked.check,
        "tune": searched.check_measure,
        "train": suited.check,
        "evaluate": _quality,
    }
    for name in names:
        try:
            section = _section(task, name)
        except ConfigError:
            continue
        try:
            checks[name](section, asked.kind, f"{task.where}.{name}")
        except ConfigError as error:
            yield error


def _quality(section: Any, kind: Kind, where: str) -> None:
    quality.settled(section, kind, where)


def resolve(task: Task) -> dict[str, object]:
    """Every section with every default filled in, as plain values in the order of params.yaml.

    Raises: ConfigError for the first section that is wrong.
    """
    resolved: dict[str, object] = {"kind": task.kind}
    for name in config.SECTIONS[1:]:
        values = dataclasses.asdict(_section(task, name))
        if name in FOLDERS_BY_NAME:
            values = {"name": task.raw[name]["name"], **values}
        resolved[name] = _plain(values)
    return resolved


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _check(params: Path, sources_of: Collection[str] | None) -> int:
    found = faults(params, sources_of)
    for error in found:
        print(error, file=sys.stderr)
    if found:
        return ConfigError.exit_code
    print(f"{params}: ok: {', '.join(config.load(params))}")
    return 0


def _show(name: str, params: Path) -> int:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.dump({name: resolve(config.task(name, params))}, sys.stdout)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser("python -m pipeline.check", description="Checks params.yaml whole.")
    parser.add_argument("--params", type=Path, default=PARAMS, metavar="FILE")
    parser.add_argument("--settings", action="store_true", help="leave the sources alone")
    parser.add_argument("--show", metavar="TASK", help="print this task's settings with every default filled in")
    arguments = parser.parse_args()
    try:
        if arguments.show:
            return _show(arguments.show, arguments.params)
        return _check(arguments.params, [] if arguments.settings else None)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
