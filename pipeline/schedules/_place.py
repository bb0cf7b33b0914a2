"""Where in a run a step stands, and the warm-up that schedules share."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    step: int  # from 0
    total: int  # steps of the whole run
    an_epoch: int  # steps of an epoch
    losses: Sequence[float] = ()  # validation losses of the epochs before


def warming(share: float, place: Place) -> float | None:
    """The rate's factor while it rises in a line over this share of all steps; None afterwards."""
    steps = round(share * place.total)
    return (place.step + 1) / steps if place.step < steps else None


def progress(share: float, place: Place) -> float:
    """How much of the run after the warm-up has passed, 0..1."""
    steps = round(share * place.total)
    return (place.step - steps) / max(1, place.total - steps)
