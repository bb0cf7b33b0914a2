"""The smaller networks of a trained one, level by level, each fine-tuned, and the control that was trained as long."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline import artifacts
from pipeline.errors import TrainingError
from pipeline.network import Network
from pipeline.pruning import cutting, path
from pipeline.pruning.channels import UncutError
from pipeline.pruning.cutting import SAVES_BYTES, Subject
from pipeline.pruning.path import Level, Sensitivity
from pipeline.pruning.sensitivity import Cost, Judge
from pipeline.pruning.tuning import Tuner

log = logging.getLogger(__name__)
TRIES = 10
"""How often the parts to cut are chosen again until as much is saved as was asked."""
ENOUGH = 0.02
"""Share of the whole cost by which a network may save less than was asked."""
HALVINGS = 2
"""Networks more that are tried between a level that loses too much and the one before."""


@dataclass(frozen=True)
class Smaller:
    """A network that lost parts, tuned again."""

    name: str
    saving: float  # share of the cost that was to be saved
    kept: Mapping[str, int]  # of each part that was cut
    made: Network
    distilled: bool
    before: float  # the headline on validation, before it was tuned
    after: float


@dataclass(frozen=True)
class Family:
    """Networks that lose parts of the same kinds, more of them level by level."""

    name: str
    of: Callable[[str], bool]  # which parts, by their names
    cost: Callable[[Level], float]


def families(sensitivity: Sensitivity) -> list[list[Family]]:
    """What is cut together: of a text network its embedding alone, for the bytes, then also what takes time."""
    time = Family("time", lambda name: name not in SAVES_BYTES, lambda level: level.latency_ms)
    size = Family("bytes", lambda name: name in SAVES_BYTES, lambda level: float(level.bytes))
    found = [[time]] if sensitivity.of(time.of) else []
    if sensitivity.of(size.of):
        found = [[size], *([[size, time]] if found else [])]
    return found


def kept(
    subject: Subject, sensitivity: Sensitivity, together: list[Family], saving: float, cost: Cost
) -> dict[str, int]:
    """How many are left of each part when every family saves this share of its cost, or all that can be.

    What single cuts save does not add up where they meet: the network so cut is measured, and what it saves too little
    is asked for more in the next try.
    """
    asked = {family.name: saving for family in together}
    found: dict[str, int] = {}
    whole, lacks = sensitivity.whole, dict.fromkeys(asked, 0.0)
    for _ in range(TRIES):
        before, found = found, {}
        for family in together:
            found |= path.choose(sensitivity.of(family.of), whole, asked[family.name], family.cost)
        if not found:
            break
        if found != before:
            latency, size = cost(cutting.cut(subject, found))
            reached = replace(whole, latency_ms=latency, bytes=size)
            lacks = {one.name: saving - (1 - one.cost(reached) / one.cost(whole)) for one in together}
        if max(lacks.values()) <= ENOUGH:
            break
        asked = {name: asked[name] + max(0.0, lacks[name]) for name in asked}
    return found


def control(subject: Subject, tuner: Tuner, *, distilled: bool) -> Network:
    """The trained network itself, trained on as the smaller ones are."""
    made = cutting.cut(subject, {})
    tuner.tune("control", made, distilled=distilled)
    return made


class Levels:
    """The share to save next: level after level, and once one has failed, half way from it to the last that passed."""

    def __init__(self, levels: Iterable[float]) -> None:
        self._ahead, self._halvings = deque(levels), HALVINGS
        self._passed, self._failed = 0.0, 1.0

    def __iter__(self) -> Iterator[float]:
        while self._ahead:
            yield self._ahead.popleft()

    def tell(self, saving: float, *, passed: bool) -> None:
        if passed:
            self._passed = saving
        else:
            self._failed = saving
            self._ahead.clear()
        if not self._ahead and self._failed < 1 and self._halvings:
            self._halvings -= 1
            self._ahead.append((self._passed + self._failed) / 2)


def smaller(
    subject: Subject,
    sensitivity: Sensitivity,
    tuner: Tuner,
    judge: Judge,
    cost: Cost,
    goes_on: Callable[[Smaller], bool],
) -> Iterator[Smaller]:
    """Each family's networks by `Levels`: one fails of which `goes_on` says that it lost too much.

    The first network is fine-tuned with and without distillation, where that is to be found out; the rest as it was
    better. What is left of each is kept beside the checkpoints: a repeated run goes on with the same networks, however
    it would measure them.
    """
    chosen = {"on": True, "off": False}.get(tuner.settings.distil)
    for together in families(sensitivity):
        name = "pruned" if any(family.name == "time" for family in together) else "narrowed"
        levels, passed = Levels(tuner.settings.levels), dict[tuple[tuple[str, int], ...], bool]()
        for saving in levels:
            at = f"{name}-{saving:g}"
            try:
                left = _kept(tuner, at, partial(kept, subject, sensitivity, together, saving, cost))
                alike = tuple(sorted(left.items()))
                known = not left or alike in passed
                made = None if known else tuned(at, saving, subject, left, tuner, judge, chosen)
            except (UncutError, TrainingError) as error:  # there are parts that can be cut alone and not together
                log.warning("%s: %s", at, error)
                break
            if made:
                chosen = made.distilled
                found = replace(made, name=f"{name}_{len(passed) + 1}")
                yield found
                passed[alike] = goes_on(found)
            if left:
                levels.tell(saving, passed=passed[alike])


def _kept(tuner: Tuner, name: str, chosen: Callable[[], dict[str, int]]) -> dict[str, int]:
    """What is left of the parts of a network of that name, chosen once."""
    path = tuner.folder / f"{name}.json"
    if not path.is_file():
        artifacts.write_json(path, chosen())
    left: dict[str, int] = artifacts.read_json(path)
    return left


def tuned(
    name: str,
    saving: float,
    subject: Subject,
    left: Mapping[str, int],
    tuner: Tuner,
    judge: Judge,
    chosen: bool | None,
) -> Smaller:
    """A network of which so many of each part are left; distilled as chosen, or whichever loses less on validation."""
    tried: list[tuple[float, Any]] = []
    before = 0.0
    for distilled in (False, True) if chosen is None else (chosen,):
        made = cutting.cut(subject, left)
        before, _ = judge(made)
        tuner.tune(f"{name}-distilled" if distilled else name, made, distilled=distilled)
        after, loss = judge(made)
        log.info("%s%s: %.4f cut, %.4f tuned", name, ", distilled" if distilled else "", before, after)
        tried.append((loss, Smaller(name, saving, left, made, distilled, before, after)))
    best: Smaller = min(tried, key=lambda one: one[0])[1]
    return best
