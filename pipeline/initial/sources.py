"""A pinned source of weights as tensors by their names, and the words that its embeddings stand for."""

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, load

from pipeline.errors import DataError, RegistryError
from pipeline.initial import published
from pipeline.initial.pins import Pin, unchanged
from pipeline.initial.settings import REGISTERED

log = logging.getLogger(__name__)
OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.mlp)\.linear_2\."), r"\1.3."),
)


@dataclass(frozen=True)
class Source:
    pin: Pin
    state: dict[str, Tensor]
    words: list[str] | None = None  # by the rows of its embedding
    about: str = ""  # the model that it is of, in words


def read(pin: Pin) -> Source:
    """Raises: DataError for a file that cannot be had or read, RegistryError for a version without weights."""
    if REGISTERED.fullmatch(pin.place):
        from pipeline.tracking import trained

        folder = trained.fetch(pin.place, pin.sha256)
        about = json.loads((folder / trained.ABOUT).read_text("utf-8"))
        words = folder / trained.WORDS
        settings = {"name": about["name"], **about["config"]}
        told = ", ".join(f"{name}: {value}" for name, value in settings.items())
        return Source(pin, _tensors(folder / trained.WEIGHTS), _words(words), f"{{{told}}}")
    if "://" in pin.place:
        return Source(pin, _published(pin.place))
    path = unchanged(pin)
    return Source(pin, _tensors(path), _words(path.with_suffix(".vocabulary.json")))


def split(pin: Pin, today: str) -> Literal["same", "other", "unknown"]:
    """Whether what is pinned was trained on today's split, by the digest of `prepared.split_digest`; warns of another.

    Only versions that were registered since model.json has it, and whose winner is the network, tell.
    """
    if not REGISTERED.fullmatch(pin.place):
        return "unknown"
    from pipeline.tracking import trained

    try:
        folder = trained.fetch(pin.place, pin.sha256)
    except RegistryError:  # such as a teacher whose winner is no network
        return "unknown"
    found = json.loads((folder / trained.ABOUT).read_text("utf-8")).get("split")
    if found is None or found == today:
        return "same" if found else "unknown"
    log.warning(
        "%s was trained on another split; if it was of these examples, it has learnt some of today's validation and "
        "test, and scores are too good",
        pin.place,
    )
    return "other"


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a safetensors file; put it there again") from None


def _words(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise DataError(f"{path}: found no list of words; expected one, as data/features/<task>/vocabulary.json has it")
    return found


def _published(address: str) -> dict[str, Tensor]:
    found = load(published.fetched(address), map_location="cpu", weights_only=True)
    return {renamed(name): value for name, value in found.items() if not name.startswith(published.SECOND_HEADS)}


def renamed(name: str) -> str:
    """A published tensor's name as torchvision now has it: files of old, such as densenet's and vit's, have others."""
    for before, after in OLD_NAMES:
        name = before.sub(after, name)
    return name
