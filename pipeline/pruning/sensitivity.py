"""What each part of a network is worth: cut alone by a quarter, a half and three quarters, scored on validation."""

import logging
from collections.abc import Callable

from pipeline import pulse
from pipeline.network import Network
from pipeline.pruning import cutting
from pipeline.pruning.channels import UncutError
from pipeline.pruning.cutting import Subject
from pipeline.pruning.path import Group, Level, Sensitivity
from pipeline.pruning.settings import RATIOS

log = logging.getLogger(__name__)
Judge = Callable[[Network], tuple[float, float]]
"""A network's headline and its loss on validation."""
Cost = Callable[[Network], tuple[float, int]]
"""The latency of a network's graph in ms, and its bytes."""


def measure(subject: Subject, headline: str, judge: Judge, cost: Cost) -> tuple[Sensitivity, dict[str, str]]:
    """All parts at all ratios, and by name what is left alone, with the reason."""
    parts, left = cutting.parts(subject)
    trained = subject.trained
    whole = Level(0.0, 0, *judge(trained), *cost(trained))
    groups = []
    for part in parts:
        levels: list[Level] = []
        for ratio in RATIOS:
            kept = part.kept(ratio)
            if kept is None or any(level.kept == kept for level in levels):
                continue
            try:
                made = cutting.cut(subject, {part.name: kept})
            except UncutError as error:
                left[part.name] = f"not cut: {error}"
                break
            levels.append(Level(ratio, kept, *judge(made), *cost(made)))
            pulse.beat()
        if part.name in left:
            continue
        groups.append(Group(part.name, part.kind, part.count, levels))
        told = ", ".join(f"{level.kept} of {part.count}: {level.score:.3f}" for level in levels)
        log.info("sensitivity of %s: %s %s", part.name, headline, told)
    return Sensitivity(headline, whole, groups), left
