"""What successive halving in one bracket and in several share: the settings of its rungs, and where they lie."""

from dataclasses import dataclass

from pipeline.config import setting


@dataclass(frozen=True)
class Rungs:
    first: int = setting(1, low=1, high=10_000, unit="epochs up to the first rung, of the first bracket")
    factor: int = setting(3, low=2, high=100, unit="of so many trials one goes on, for so many times the epochs")


def fewest(config: Rungs) -> int:
    """Trials below which it cannot compare any."""
    return 2


def first(config: Rungs) -> int:
    """A trial's first epoch after which it may be ended."""
    return config.first


def last(config: Rungs, epochs: int) -> int:
    """A trial's last epoch after which it may be ended: what goes on from a rung then comes to its end, `epochs`."""
    return epochs // config.factor
