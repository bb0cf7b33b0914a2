"""The section tune.space: which values of `model` and `train` a search may try.

A list gives choices; {low, high, log, step} a range, of whole numbers where the field takes no others.
Nothing here imports Optuna, so that a check stays quick.
"""

import functools
import json
import math
import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline import config, wording
from pipeline.config import Task
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SECTIONS = ("model", "train")
FIXED = {
    "model.name": "a task for each model keeps their code apart in the graph",
    "train.seed": "the seed that happens to do best is luck",
    "train.init": "a task for each start keeps their weights apart",
    "train.teacher": "a task for each teacher keeps its answers apart",
    "train.parallel": "tune.workers train side by side instead",
    "train.device": "it changes no result that a search could prefer",
}
LISTED = 200
"""Whole numbers of a range that a check tries one by one."""


@dataclass(frozen=True)
class Range:
    """Both ends included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            out = "swap them" if self.low > self.high else "a list has single values"
            raise ValueError(f"low: found {self.low:g} with high {self.high:g}; expected less than high; {out}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: found {self.low:g} with log: true; expected more than 0, which has a logarithm")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step: found {self.step:g}; expected more than 0 and at most {self.high - self.low:g}")
        steps = (self.high - self.low) / self.step if self.step else 1
        if not math.isclose(steps, round(steps), rel_tol=1e-6):
            raise ValueError(
                f"step: found {self.step:g}, by which {self.low:g} never becomes {self.high:g}; expected a whole part "
                "of high - low; change one of them"
            )
        if self.log and self.step is not None:
            raise ValueError(f"step: found {self.step:g} with log: true; expected one of them; a list has any values")


@dataclass(frozen=True)
class Dimension:
    """One field and its values: either choices or a range."""

    path: str  # such as train.optimizer.learning_rate
    choices: tuple[Any, ...] = ()
    range: Range | None = None
    whole: bool = False  # whether a range is of whole numbers

    @property
    def count(self) -> int | None:
        """How many values there are; None of a continuous range."""
        if self.range is None:
            return len(self.choices)
        step = self._step
        return round((self.range.high - self.range.low) / step) + 1 if step else None

    def value(self, number: int) -> Any:
        """One of `count`, as it stands in a study."""
        if self.range is None:
            return word(self.choices[number])
        found = min(self.range.low + number * self._step, self.range.high)  # whose sum may be a little more
        return int(found) if self.whole else found

    @property
    def _step(self) -> float:
        assert self.range is not None
        return self.range.step or (1 if self.whole else 0)

    @property
    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.range is None:
            return CategoricalDistribution([word(choice) for choice in self.choices])
        if not self.whole:
            return FloatDistribution(self.range.low, self.range.high, log=self.range.log, step=self.range.step)
        return IntDistribution(int(self.range.low), int(self.range.high), log=self.range.log, step=int(self._step))

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        assert self.range is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        steps = (value - self.range.low) / self._step if self._step else 0
        return self.range.low <= value <= self.range.high and math.isclose(steps, round(steps), abs_tol=1e-6)

    def read(self, value: Any) -> Any:
        """A study's value as params.yaml has it."""
        return next((c for c in self.choices if word(c) == value), value) if self.range is None else value

    def samples(self) -> Iterator[Any]:
        """What a check tries: every choice, or the ends of a range, and up to LISTED whole numbers."""
        if self.range is None:
            yield from self.choices
        elif self.whole and (self.count or 0) <= LISTED:
            yield from map(self.value, range(self.count or 0))
        else:
            yield from (int(end) if self.whole else end for end in (self.range.low, self.range.high))


@dataclass(frozen=True)
class Space:
    dimensions: tuple[Dimension, ...]
    seed: int = 0  # of the order of a grid

    @property
    def distributions(self) -> dict[str, "BaseDistribution"]:
        return {dimension.path: dimension.distribution for dimension in self.dimensions}

    @property
    def points(self) -> int | None:
        """How many there are; None where a range is continuous."""
        counts = [dimension.count for dimension in self.dimensions]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def point(self, number: int) -> dict[str, Any]:
        """The point at a place of the grid's order, as a study has it."""
        place, found = self._order[number], {}
        for dimension in self.dimensions:
            count = dimension.count
            assert count, dimension.path
            place, k = divmod(place, count)
            found[dimension.path] = dimension.value(k)
        return found

    @functools.cached_property
    def _order(self) -> list[int]:
        count = self.points
        assert count is not None
        return random.Random(self.seed).sample(range(count), count)

    def overlaid(self, task: Task, found: Mapping[str, Any]) -> Task:
        """The task with a study's values in the place of its own, and without the search for them."""
        raw = {**task.raw, **{name: deepcopy(task.raw[name]) for name in SECTIONS}, "tune": {}}
        for dimension in self.dimensions:
            if dimension.path in found:
                _set(raw, dimension.path.split("."), dimension.read(found[dimension.path]))
        return replace(task, raw=raw)


def read(task: Task, given: Mapping[str, Any], seed: int) -> Space:
    """The space as params.yaml has it.

    Raises: ConfigError for a field that there is not or that no search may change, and for a range that is none.
    """
    found = [_dimension(task, str(path), values, f"{task.where}.tune.space") for path, values in given.items()]
    for a in found:
        for b in found:
            if b.path.startswith(f"{a.path}."):
                raise ConfigError(
                    f"{task.where}.tune.space.{b.path}: found beside {a.path}, which holds it; expected one of the two"
                )
    return Space(tuple(found), seed)


def _dimension(task: Task, path: str, values: Any, where: str) -> Dimension:
    place = f"{where}.{path}"
    for fixed, reason in FIXED.items():
        if path == fixed or path.startswith(f"{fixed}."):
            raise ConfigError(f"{place}: found in the space; expected another field: {reason}")
    section = path in SECTIONS or any(name.startswith(f"{path}.") for name in _paths(task))
    if section and isinstance(values, Mapping) and values:
        inner = f"{path}.{next(iter(values))}"
        raise ConfigError(
            f"{place}: found {wording.shown(values)}; expected fields by their whole path, such as {inner}"
        )
    if path.partition(".")[0] not in SECTIONS or "." not in path:
        known = _paths(task)
        meant = [name for name in known if name.rpartition(".")[2] == path.rpartition(".")[2]]
        near = f"; did you mean {meant[0]}?" if meant else wording.nearest(path, known)
        raise ConfigError(f"{place}: found {path!r}; expected model.… or train.…, such as {known[0]}{near}")
    if isinstance(values, list):
        return Dimension(path, choices=_choices(values, place))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}: found {wording.shown(values)}; expected a list of values, or {{low: …, high: …}}")
    found = config.parse(Range, values, place)
    whole = _whole(task, path, found)
    for end in (found.low, found.high, found.step or 0):
        if whole and end != int(end):
            raise ConfigError(f"{place}: found {end:g}; expected whole numbers, which the field takes alone")
    return Dimension(path, range=found, whole=whole)


def _choices(values: list[Any], place: str) -> tuple[Any, ...]:
    for value in values:
        if not _plain(value):
            raise ConfigError(f"{place}: found {value!r}; expected numbers, texts, lists and mappings by names")
    words = [json.dumps(value, ensure_ascii=False, sort_keys=True) for value in values]
    twice = [k for k, value in enumerate(values) if any(_same(value, other) for other in values[:k])]
    if not values or twice:
        what = f"{words[twice[0]]} twice" if twice else "no value"
        raise ConfigError(f"{place}: found {what}; expected different values, such as [0.1, 0.2]")
    return tuple(values)


def _plain(value: Any) -> bool:
    """Whether a study can have it: what JSON has. A date, which YAML knows, is none."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _same(a: Any, b: Any) -> bool:
    """Whether two choices are one: 1 and 1.0 are, 1 and true are not."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _whole(task: Task, path: str, found: Range) -> bool:
    """Whether the field refuses a number between the ends that is not whole, and takes an end that is."""
    inner = found.low + (found.high - found.low) * 0.381966
    space = Space((Dimension(path, range=found),))
    return not _taken(space.overlaid(task, {path: inner + 1e-6 * (inner == int(inner))})) and any(
        end == int(end) and _taken(space.overlaid(task, {path: int(end)})) for end in (found.low, found.high)
    )


def _taken(task: Task) -> bool:
    from pipeline.fit import settings

    try:
        task.named("model", "models")
        task.section("train", settings.Config)
    except ConfigError:
        return False
    return True


def word(choice: Any) -> Any:
    """A choice as a study may have it: a text, a number, a truth value, or JSON of anything else."""
    plain = choice is None or isinstance(choice, bool | int | float | str)
    return choice if plain else json.dumps(choice, ensure_ascii=False, sort_keys=True)


def _set(raw: dict[str, Any], path: list[str], value: Any) -> None:
    *above, last = path
    inner: Any = raw
    for key in above:
        if not isinstance(inner.get(key), dict):
            inner[key] = {}
        inner = inner[key]
    inner[last] = value


def _paths(task: Task) -> list[str]:
    """Every field of `model` and `train` that is no section itself."""
    from dataclasses import asdict

    from pipeline.fit import settings

    sections = {
        "train": asdict(task.section("train", settings.Config)),
        "model": asdict(task.named("model", "models")[1]),
    }
    return [path for name, section in sections.items() for path in _leaves(section, name)]


def _leaves(section: Mapping[str, Any], before: str) -> Iterator[str]:
    for key, value in section.items():
        path = f"{before}.{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path
