"""The smaller networks of a trained one, level by level, each fine-tuned, and the control that was trained as long."""

import logging
from collections.abc import Callable, Iterator, Mapping
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


def smaller(
    subject: Subject,
    sensitivity: Sensitivity,
    tuner: Tuner,
    judge: Judge,
    cost: Cost,
    goes_on: Callable[[Smaller], bool],
) -> Iterator[Smaller]:
    """Each family's networks from the first level on, until `goes_on` says of one that it lost too much.

    The first network is fine-tuned with and without distillation, where that is to be found out; the rest as it was
    better. What is left of each is kept beside the checkpoints: a repeated run goes on with the same networks, however
    it would measure them.
    """
    chosen = {"on": True, "off": False}.get(tuner.settings.distil)
    for together in families(sensitivity):
        name = "pruned" if any(family.name == "time" for family in together) else "narrowed"
        last: dict[str, int] = {}
        for level, saving in enumerate(tuner.settings.levels, 1):
            try:
                left = _kept(tuner, f"{name}-{saving:g}", partial(kept, subject, sensitivity, together, saving, cost))
            except UncutError as error:  # parts that can be cut alone and not together
                log.warning("%s_%d: not cut: %s", name, level, error)
                break
            if not left or left == last:
                continue
            last = left
            try:
                found = replace(
                    _tuned(f"{name}-{saving:g}", saving, subject, left, tuner, judge, chosen), name=f"{name}_{level}"
                )
            except TrainingError as error:
                log.warning("%s_%d: %s", name, level, error)
                break
            chosen = found.distilled
            yield found
            if not goes_on(found):
                break


def _kept(tuner: Tuner, name: str, chosen: Callable[[], dict[str, int]]) -> dict[str, int]:
    """What is left of the parts of a network of that name, chosen once."""
    path = tuner.folder / f"{name}.json"
    if not path.is_file():
        artifacts.write_json(path, chosen())
    left: dict[str, int] = artifacts.read_json(path)
    return left


def _tuned(
    name: str,
    saving: float,
    subject: Subject,
    left: Mapping[str, int],
    tuner: Tuner,
    judge: Judge,
    chosen: bool | None,
) -> Smaller:
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
