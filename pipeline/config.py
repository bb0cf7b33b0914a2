"""Turns a section of params.yaml into a frozen, typed object, or into an error that names the key.

A section's class is a frozen dataclass beside the code that uses it; `setting` gives a field its
default, its range and its unit. Nothing here imports more than the standard library until a file
is read, so that the training core needs torch, torchvision and numpy alone.
"""

import dataclasses
import importlib
import math
import pkgutil
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline import wording
from pipeline.errors import ConfigError

PARAMS = Path("params.yaml")
SECTIONS = (
    "kind",
    "source",
    "validate",
    "prepare",
    "features",
    "baseline",
    "tune",
    "model",
    "train",
    "crossvalidate",
    "suspects",
    "compress",
    "evaluate",
    "register",
)
MODELS = {"image": "resnet", "text": "textcnn"}  # by kind: what a task is given that names none
UNSEEN = ("size", "nfiles")  # DVC's run cache leaves keys of these names out, at any depth: no setting may have one
T = TypeVar("T")


def setting(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
    folder: str = "",
) -> Any:
    """A dataclass field with a range (`low`, `high` inclusive; `above`, `below` exclusive) and a unit.

    folder: of plug-ins, one of which the field's `name` chooses; its Config, of which `default` is one, has that field.
    """
    bounds = {"low": low, "high": high, "above": above, "below": below, "unit": unit, "folder": folder}
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=bounds)
    return dataclasses.field(default=default, metadata=bounds)


def check_place(name: str, path: str | None, folder: Path) -> None:
    """Raises: ValueError for a user's file that does not lie in `folder`, where dvc.yaml looks for it."""
    if path is not None and (Path(path).parent != folder or Path(path).name in ("", "..")):
        raise ValueError(f"{name}: found {path!r}; expected a file in {folder}/; move it there")


def parse(cls: type[T], section: object, where: str) -> T:
    """The section as an instance of `cls`, whose `__post_init__` may raise ValueError for what no field sees.

    Raises: ConfigError, naming key, value and what is allowed.
    """
    if section is None:
        section = {}
    if not isinstance(section, Mapping):
        way = written(cls, section) or f"such as {_sample(cls)}"
        raise ConfigError(f"{where}: found {wording.shown(section)}; expected a mapping of settings{_then(way)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in section:
        if key not in fields:
            allowed = ", ".join(fields) or "no settings"
            raise ConfigError(f"{where}.{key}: unknown key{wording.meant(str(key), fields)}; allowed: {allowed}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in section:
            bounds = field.metadata | {"default": field.default}
            values[name] = _value(hints[name], section[name], f"{where}.{name}", bounds)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}.{name}: missing; expected {wording.expected(hints[name], field.metadata)}")
    try:
        return cls(**values)
    except ValueError as error:
        inner = re.match(r"\w*", str(error))
        between = "." if inner and inner[0] in fields else ": "
        raise ConfigError(f"{where}{between}{error}") from None


def written(cls: type, value: object) -> str:
    """`write {kind: ema}` for a value that stands in the place of a section, or nothing where no field takes it.

    Numbers are taken for the first field's alone, since others would take them too.
    """
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    for field in fields if isinstance(value, str) else fields[:1]:
        try:
            cls(**{field.name: _value(hints[field.name], value, "", field.metadata | {"default": field.default})})
        except (ConfigError, ValueError, TypeError):
            continue
        return f"write {{{field.name}: {wording.in_yaml(value)}}}"
    return ""


def _sample(cls: type) -> str:
    """The section with its first field, as params.yaml has it."""
    if not (fields := dataclasses.fields(cls)):
        return "{}"
    usual = fields[0].default
    plain = isinstance(usual, str | int | float)
    return f"{{{fields[0].name}: {wording.in_yaml(usual) if plain else '…'}}}"


def _then(way: str) -> str:
    return f"{',' if way.startswith('such') else ';'} {way}"


def _value(hint: Any, value: Any, where: str, bounds: Mapping[str, Any]) -> Any:
    wrong = ConfigError(f"{where}: found {wording.shown(value)}; expected {wording.expected(hint, bounds)}")
    if bounds.get("folder"):
        return _chosen(value, where, bounds)
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        raise ConfigError(f"{wrong}{wording.nearest(str(value), map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        return _either(arguments, value, where, bounds, wrong)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise wrong
        return tuple(_value(arguments[0], item, f"{where}[{k}]", bounds) for k, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise wrong
        if unseen := [key for key in value if key in UNSEEN]:
            raise ConfigError(
                f"{where}: found the name {unseen[0]!r}, whose changes DVC's run cache does not see; "
                "expected another; rename it"
            )
        return {str(k): _value(arguments[1], v, f"{where}.{k}", bounds) for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise wrong
    if hint is str:
        if isinstance(value, str) and value.strip():
            return str(value)
        raise wrong
    return _within(hint, value, bounds, wrong)


def _either(arguments: tuple[Any, ...], value: Any, where: str, bounds: Mapping[str, Any], wrong: ConfigError) -> Any:
    """The value as the first of the types that takes it; a mapping goes to the one that is made of settings."""
    if value is None and type(None) in arguments:
        return None
    members = [a for a in arguments if a is not type(None)]
    mappings = [a for a in members if dataclasses.is_dataclass(a) or typing.get_origin(a) is dict]
    if isinstance(value, Mapping) and mappings:
        return _value(mappings[0], value, where, bounds)
    for member in members[:-1]:
        try:
            return _value(member, value, where, bounds)
        except ConfigError:
            continue
    if len(members) == 1:
        return _value(members[0], value, where, bounds)
    return _last(members[-1], value, where, bounds, wrong)


def _within(hint: type, value: Any, bounds: Mapping[str, Any], wrong: ConfigError) -> Any:
    """A finite number between its bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or (hint is int and not isinstance(value, int)):
        raise wrong
    inside = (
        math.isfinite(value)
        and (bounds.get("low") is None or value >= bounds["low"])
        and (bounds.get("high") is None or value <= bounds["high"])
        and (bounds.get("above") is None or value > bounds["above"])
        and (bounds.get("below") is None or value < bounds["below"])
    )
    if not inside:
        raise wrong
    return hint(value)


def _chosen(value: Any, where: str, bounds: Mapping[str, Any]) -> Any:
    """The Config of the plug-in that a section inside a section names, or of the default one."""
    default = bounds["default"]
    if value is None and default is None:
        return None
    usual = default.name if default is not None else None
    if value is not None and not isinstance(value, Mapping):
        names = _known(bounds["folder"])
        way = (
            f"; write {{name: {value}}}"
            if value in names
            else f", whose name is one of {', '.join(names)}{wording.nearest(str(value), names)}"
        )
        raise ConfigError(f"{where}: found {wording.shown(value)}; expected a mapping{way}")
    name = value.get("name", usual) if isinstance(value, Mapping) else usual
    if name is None:
        raise ConfigError(f"{where}.name: missing; expected one of {', '.join(_known(bounds['folder']))}")
    return parse(plugin(bounds["folder"], name, f"{where}.name").Config, value, where)


def _known(folder: str) -> list[str]:
    """The names of a folder's plug-ins."""
    package = importlib.import_module(f"pipeline.{folder}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def _last(hint: Any, value: Any, where: str, bounds: Mapping[str, Any], wrong: ConfigError) -> Any:
    try:
        return _value(hint, value, where, bounds)
    except ConfigError:
        way = written(hint, value) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else ""
        raise ConfigError(f"{wrong}; {way}" if way else str(wrong)) from None


def load(path: Path = PARAMS) -> dict[str, dict[str, Any]]:
    """The tasks of params.yaml as plain mappings, their names and section names checked.

    Raises: ConfigError for a missing or unreadable file, duplicate keys, tags, aliases by the million,
    unknown or missing sections.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not path.is_file():
        raise ConfigError(
            f"{path}: missing; expected the project's settings; run from the project's root, or `danlu init`"
        )
    text = path.read_text("utf-8", errors="replace")
    if len(text) > 1_000_000 or len(re.findall(r"(?m)(?:^|[\s\[,{])\*\w", text)) > 100:
        raise ConfigError(f"{path}: over 1 MB or over 100 aliases; expected a page of settings")
    try:
        loaded = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {line[:300]}") from None
    if not isinstance(loaded, Mapping) or "tasks" not in loaded:
        raise ConfigError(f"{path}: found no `tasks:`; expected `tasks: {{name: {{kind: image, source: …}}}}`")
    for key in loaded:
        if key != "tasks":
            raise ConfigError(f"{path}: {key}: unknown key{wording.nearest(str(key), ['tasks'])}; allowed: tasks")
    tasks = loaded["tasks"]
    if not isinstance(tasks, Mapping) or not tasks:
        raise ConfigError(
            f"{path}: tasks: found {wording.shown(tasks)}; expected at least one task; `danlu init FOLDER` writes one"
        )
    if found := [fault for name, task in tasks.items() if (fault := _task_fault(name, task))]:
        raise ConfigError("\n".join(found))
    return {str(name): dict(task) for name, task in tasks.items()}


def _task_fault(name: object, task: object) -> str | None:
    """What keeps a task from being read, in words, if anything does."""
    where = f"params.yaml: tasks.{name}"
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
        return f"{where}: found the name {name!r}; expected a lower-case letter, then up to 39 of a-z 0-9 _ -"
    if not isinstance(task, Mapping):
        return f"{where}: found {wording.shown(task)}; expected the sections {', '.join(SECTIONS)}"
    for key in task:
        if key not in SECTIONS:
            return (
                f"{where}.{key}: unknown section{wording.nearest(str(key), SECTIONS)}; allowed: {', '.join(SECTIONS)}"
            )
    if "kind" in task and task["kind"] not in ("image", "text"):
        return f"{where}.kind: found {wording.shown(task['kind'])}; expected image or text"
    if missing := [key for key in SECTIONS if key not in task]:
        lines = "".join(f"\n    {key}: {_shortest(key, task.get('kind', 'image'))}" for key in missing)
        return f"{where}: found no {', '.join(missing)}; expected every section, if empty; add below {name}:{lines}"
    return None


def _shortest(section: str, kind: str) -> str:
    """What a section of a task holds at least, as a line of params.yaml has it."""
    least = {
        "kind": "image    # or text",
        "source": "{name: …, path: …}    # docs/sources.md; `danlu init PATH` writes the whole task",
        "model": f"{{name: {MODELS[kind]}}}",
    }
    return least.get(section, "{}")


def plugin(folder: str, name: object, where: str) -> types.ModuleType:
    """The module `pipeline/<folder>/<name>.py`: a folder is the registry.

    Raises: ConfigError when there is no such file, with the names there are.
    """
    known = _known(folder)
    if name not in known:
        way = (_architecture(name) if folder == "models" else "") or wording.nearest(str(name), known)
        raise ConfigError(f"{where}: found {wording.shown(name)}; expected one of {', '.join(known)}{way}")
    return importlib.import_module(f"pipeline.{folder}.{name}")


def _architecture(name: object) -> str:
    """The way out where a model's name is that of one of torchvision's architectures."""
    from pipeline.models._architectures import Architecture

    known = name in typing.get_args(Architecture)
    return f"; write {{name: torchvision, architecture: {name}}}" if known else ""


def named(folder: str, section: Mapping[str, Any], where: str, kind: str | None = None) -> tuple[types.ModuleType, Any]:
    """The module that `section.name` names in a folder, and the section parsed by that module's Config.

    Raises: ConfigError, also when the module is not for the given kind.
    """
    if not isinstance(section, Mapping) or "name" not in section:
        usual = f", such as `name: {MODELS[kind]}`" if folder == "models" and kind else ""
        raise ConfigError(f"{where}.name: missing; expected the name of a file in pipeline/{folder}/{usual}")
    module = plugin(folder, section["name"], f"{where}.name")
    if module.KIND is not None:
        _check_kind(kind, module.KIND, f"{where}.name", section["name"])
    rest = {key: value for key, value in section.items() if key != "name"}
    parsed = parse(module.Config, rest, where)
    if module.KIND is None:  # what the settings say decides, such as those of a delivery
        _check_kind(kind, parsed.kind, where, section["name"])
    return module, parsed


def _check_kind(asked: str | None, found: str, where: str, name: object) -> None:
    if asked is not None and asked != found:
        raise ConfigError(f"{where}: found {name!r}, which is for kind {found}; expected one for kind {asked}")


@dataclasses.dataclass(frozen=True)
class Task:
    """One block of params.yaml. Sections are parsed when asked for, so that a stage reads its own alone."""

    name: str
    kind: str
    raw: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"params.yaml: tasks.{self.name}"

    def section(self, name: str, cls: type[T]) -> T:
        return parse(cls, self.raw[name], f"{self.where}.{name}")

    def of_kind(self, section: str, folder: str) -> tuple[types.ModuleType, Any]:
        """The module `pipeline/<folder>/<kind>.py` and the section parsed by its Config."""
        module = plugin(folder, self.kind, f"{self.where}.kind")
        return module, self.section(section, module.Config)

    def named(self, section: str, folder: str) -> tuple[types.ModuleType, Any]:
        """The module that the section's `name` names, for a source or a model of this task's kind."""
        return named(folder, self.raw[section], f"{self.where}.{section}", self.kind)


def task(name: str, path: Path = PARAMS) -> Task:
    """One task of params.yaml. Raises: ConfigError when there is none of that name."""
    tasks = load(path)
    if name not in tasks:
        raise ConfigError(
            f"{path}: tasks.{name}: no such task{wording.nearest(name, tasks)}; there are: {', '.join(tasks)}"
        )
    return Task(name, tasks[name]["kind"], tasks[name])
