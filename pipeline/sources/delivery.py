"""A folder, or a zip or tar archive, as it was delivered: unpacked safely, accepted or refused whole.

With `checksums` it has to hold exactly what its list names; `layout` is the block that would read its files unpacked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.examples import Example
from pipeline.sources import _delivery

KIND = None  # the layout's


@dataclass(frozen=True)
class Config(_delivery.Settings):
    pass


def read(config: Config) -> Iterator[Example]:
    """Every example of the delivery. Raises: DataError, before the first one, where the delivery is refused."""
    found = _delivery.opened(config, Path(config.path))
    found.verify()
    yield from found.read()


def files(config: Config) -> Iterator[tuple[str, Path]]:
    yield from _delivery.opened(config, Path(config.path)).files()


def describe(config: Config) -> Mapping[str, Any]:
    place = Path(config.path)
    return _delivery.describe(config, _delivery.opened(config, place) if place.exists() else None)
