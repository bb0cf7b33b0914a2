"""What a search looks for in a task, and the values that one of its trials, or none, stands for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal

from pipeline import config, wording
from pipeline.config import Task
from pipeline.errors import ConfigError
from pipeline.fit import settings as fit
from pipeline.initial import pins
from pipeline.search import space as spaces
from pipeline.search.settings import Config
from pipeline.search.space import Space
from pipeline.targets import Kind

MEASURES: dict[Kind, tuple[str, ...]] = {
    "classes": ("loss", "accuracy", "macro_f1"),
    "labels": ("loss", "exact", "macro_f1"),
    "value": ("loss", "mae", "r2"),
}
"""By kind of target: what the training's history has of validation."""
LOWER = ("loss", "mae")
CHANGING = ("train.loss", "train.class_weights")
"""Settings of which each has a loss of its own: losses of two such trials are no measure of which is better."""
MOST_POINTS = 1_000_000  # of a grid


def of(task: Task, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """The whole of the sections `model` and `train`, and what weights and teacher they name: values.json's content.

    known: the last of these, where it has been looked up before.
    Raises: ConfigError, and what `pins.pinned` raises.
    """
    module, parsed = task.named("model", "models")
    if hasattr(module, "resolved"):  # finds what it reads elsewhere, by whose digest train then knows it
        parsed = module.resolved(parsed)
    model, train = {"name": task.raw["model"]["name"], **asdict(parsed)}, task.section("train", fit.Config)
    named = pins.pinned(train, model, f"{task.where}.train") if known is None else known
    return {"model": model, "train": asdict(train), "pins": named}


def space(task: Task, settings: Config) -> Space:
    return spaces.read(task, settings.space, settings.seed)


def own(task: Task, within: Space) -> dict[str, Any]:
    """The task's own values of what is searched, as a study has them, but for those that lie outside of the space."""
    mine = of(task, {})
    found: dict[str, Any] = {}
    for dimension in within.dimensions:
        value = _at(mine, dimension.path)
        if dimension.range is not None:
            found |= {dimension.path: value} if dimension.holds(value) else {}
            continue
        for choice in map(spaces.word, dimension.choices):
            if _at(of(within.overlaid(task, {dimension.path: choice}), {}), dimension.path) == value:
                found[dimension.path] = choice
                break
    return found


def _at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def measure(settings: Config, kind: Kind) -> str:
    """What is measured of each trial."""
    if settings.measure != "auto":
        return settings.measure
    if not any(_changes(path) for path in settings.space):
        return "loss"
    return "mae" if kind == "value" else "macro_f1"


def _changes(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in CHANGING)


def direction(measured: str) -> Literal["minimize", "maximize"]:
    return "minimize" if measured in LOWER else "maximize"


def most(settings: Config, within: Space) -> int:
    """Trials that the search has at most: a grid has no more than its points."""
    points = within.points
    return min(settings.trials, points) if settings.sampler.name == "grid" and points else settings.trials


def epochs(task: Task, within: Space) -> int:
    """That a trial may train at most."""
    asked = next((d for d in within.dimensions if d.path == "train.epochs"), None)
    if asked is None:
        return int(task.section("train", fit.Config).epochs)
    return int(asked.range.high if asked.range else max(asked.choices))


def told(params: Mapping[str, Any]) -> str:
    """A trial's parameters in words, numbers to four digits."""
    return ", ".join(
        f"{path} {value:.4g}" if isinstance(value, float) else f"{path} {value}" for path, value in params.items()
    )


def check(task: Task, settings: Config, faults: Callable[[Task], Iterator[ConfigError]]) -> None:
    """faults: what is wrong with a task's model and training. Raises: ConfigError for a search that cannot be."""
    where = f"{task.where}.tune"
    if next(faults(task), None) is not None:
        return  # told of as what it is
    found = space(task, settings)
    _check_budget(settings, found, where)
    if settings.measure == "loss" and (changed := [path for path in settings.space if _changes(path)]):
        raise ConfigError(
            f"{where}.measure: found loss with {changed[0]} in the space, whose losses are of different kinds; "
            "expected auto, or accuracy, macro_f1, mae or another that all trials share"
        )
    for dimension in found.dimensions:
        for value in dimension.samples():
            tried = found.overlaid(task, {dimension.path: spaces.word(value)})
            if (fault := next(faults(tried), None)) is not None:
                said = str(fault).removeprefix(f"{task.where}.").removeprefix(f"{dimension.path}: ")
                raise ConfigError(f"{where}.space.{dimension.path}: {wording.shown(value)} is no value of it: {said}")
    _check_pruner(settings, epochs(task, found), where)


def _check_budget(settings: Config, found: Space, where: str) -> None:
    """Raises: ConfigError for trials, a space and a sampler that do not go together."""
    sampler, pruner = settings.sampler.name, settings.pruner.name
    fewest = config.plugin("pruners", pruner, f"{where}.pruner.name").fewest(settings.pruner)
    trials = most(settings, found)
    if trials < fewest:
        raise ConfigError(
            f"{where}.trials: found {trials} with pruner {pruner}, which compares trials; expected at least "
            f"{fewest}; set it, or pruner: {{name: none}}"
        )
    if settings.trials and not found.dimensions:
        raise ConfigError(
            f"{where}.space: found nothing with {settings.trials} trials; expected fields and their values, such as "
            "{train.optimizer.learning_rate: {low: 0.0003, high: 0.01, log: true}}"
        )
    if sampler != "grid":
        return
    for dimension in found.dimensions:
        if dimension.count is None:
            raise ConfigError(
                f"{where}.space.{dimension.path}: found a continuous range with sampler grid; expected a list of "
                "values, or a step; give one, or take sampler tpe or random"
            )
        if dimension.range is not None and dimension.range.log:
            raise ConfigError(
                f"{where}.space.{dimension.path}: found log: true with sampler grid; expected a list of values"
            )
    if (found.points or 0) > MOST_POINTS:
        raise ConfigError(
            f"{where}.space: found {found.points:,} points of a grid; expected at most {MOST_POINTS:,}; use tpe"
        )


def _check_pruner(settings: Config, most: int, where: str) -> None:
    """most: epochs of a trial. Raises: ConfigError for a pruner that never could end a trial."""
    pruner = settings.pruner
    module = config.plugin("pruners", pruner.name, f"{where}.pruner.name")
    first, last = module.first(pruner), module.last(pruner, most)
    if settings.trials and module.fewest(pruner) and first > last:
        raise ConfigError(
            f"{where}.pruner: found {pruner.name} from epoch {first} to epoch {last} of {most}, so that none could be "
            "pruned; expected it to begin earlier, or more train.epochs"
        )


def check_measure(settings: Config, kind: Kind, where: str) -> None:
    """Raises: ConfigError for a measure that such a target does not have."""
    known = MEASURES[kind]
    asked = settings.measure
    if asked not in ("auto", *known):
        raise ConfigError(
            f"{where}.measure: found {asked!r}; expected auto or one of {', '.join(known)}, since the target is {kind}"
        )
