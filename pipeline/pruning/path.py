"""Which parts of a network to cut how far: greedily by the quality lost for what is saved, after NetAdapt.

Yang et al., arXiv 1804.03230. What each cut costs and saves was measured alone; that they add up is an assumption,
which fine-tuning and the gate put to the test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LEAST = 1e-3
"""Share of what is to be saved below which a cut saves nothing that could be told from noise."""


@dataclass(frozen=True)
class Level:
    """One part with a share of it cut, everything else as trained, not fine-tuned."""

    ratio: float
    kept: int
    score: float  # the headline on validation
    loss: float  # on validation
    latency_ms: float
    bytes: int


@dataclass(frozen=True)
class Group:
    name: str
    kind: str
    count: int
    levels: list[Level] = field(default_factory=list)


@dataclass(frozen=True)
class Sensitivity:
    """What the network is as trained, and with each part cut alone."""

    measure: str  # the headline
    whole: Level  # nothing cut
    groups: list[Group] = field(default_factory=list)

    def of(self, names: Callable[[str], bool]) -> list[Group]:
        return [group for group in self.groups if names(group.name)]


def choose(groups: Sequence[Group], whole: Level, saving: float, cost: Callable[[Level], float]) -> dict[str, int]:
    """How many are kept of each part so that `saving`, a share of the whole's cost, is saved, or all that can be.

    Each step takes, of all parts and of all of their further levels, the one that loses the least validation loss a
    unit of cost saved.
    """
    at = {group.name: whole for group in groups}
    left = saving * cost(whole)
    least = LEAST * cost(whole)
    while left > least:
        steps = [
            (max(0.0, level.loss - at[group.name].loss) / saved, -saved, group.name, level)
            for group in groups
            for level in group.levels
            if (saved := cost(at[group.name]) - cost(level)) > least
        ]
        if not steps:
            break
        _, saved, name, level = min(steps, key=lambda step: step[:3])
        at[name] = level
        left += saved
    return {name: level.kept for name, level in at.items() if level is not whole}


def read(found: Mapping[str, Any]) -> Sensitivity:
    """What `dataclasses.asdict` made of one."""
    groups = [
        Group(g["name"], g["kind"], g["count"], [Level(**level) for level in g["levels"]]) for g in found["groups"]
    ]
    return Sensitivity(found["measure"], Level(**found["whole"]), groups)
