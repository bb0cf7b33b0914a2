"""What `train.init` and `train.teacher` stand for today: tune writes it down, and train keeps to it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.initial import published
from pipeline.initial.settings import REGISTERED, Teacher, Weights, check

if TYPE_CHECKING:
    from pipeline.fit.settings import Config


@dataclass(frozen=True)
class Pin:
    place: str  # weights/<name>, models:/<name>/<number>, or the address of published weights
    sha256: str  # of the file, or of the version's bundle; of published weights the first digits


def pinned(train: "Config", model: Mapping[str, Any], where: str) -> dict[str, dict[str, str]]:
    """By `init` and `teacher`, where they name anything: its place and sha256.

    Raises: ConfigError, DataError, RegistryError for what is not there.
    """
    check(train.init, train.teacher, model, where)
    found = {}
    if train.init == "pretrained":
        address = published.address(model["architecture"])
        found["init"] = Pin(address, published.digest(address))
    elif isinstance(train.init, Weights):
        found["init"] = _pin(train.init)
    if train.teacher is not None:
        found["teacher"] = _pin(train.teacher)
    return {name: asdict(pin) for name, pin in found.items()}


def _pin(given: Weights | Teacher) -> Pin:
    if given.file is not None:
        return Pin(given.file, _sha256(Path(given.file)))
    from pipeline.tracking import trained

    named = REGISTERED.fullmatch(str(given.model))
    assert named, given.model
    version = trained.resolve(named[1], named[2], int(named[3]) if named[3] else None)
    return Pin(version.uri, version.sha256)


def unchanged(pin: Pin) -> Path:
    """The file of a pin. Raises: DataError where it is gone, or not the one that tune saw."""
    path = Path(pin.place)
    if not path.is_file() or _sha256(path) != pin.sha256:
        found = f"sha256 {_sha256(path)[:8]}…" if path.is_file() else "nothing"
        raise DataError(
            f"{path}: found {found}; expected {pin.sha256[:8]}…, as tune saw it; run tune again, or put the file back"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
