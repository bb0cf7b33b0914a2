"""A pinned source of weights as tensors by their names, and the words that its embeddings stand for."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, load

from pipeline.errors import DataError
from pipeline.initial import published
from pipeline.initial.pins import Pin, unchanged
from pipeline.initial.settings import REGISTERED

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

        folder = trained.fetch(pin.place)
        about = json.loads((folder / trained.ABOUT).read_text("utf-8"))
        words = folder / trained.WORDS
        settings = {"name": about["name"], **about["config"]}
        told = ", ".join(f"{name}: {value}" for name, value in settings.items())
        return Source(pin, _tensors(folder / trained.WEIGHTS), _words(words), f"{{{told}}}")
    if "://" in pin.place:
        return Source(pin, _published(pin.place))
    path = unchanged(pin)
    return Source(pin, _tensors(path), _words(path.with_suffix(".vocabulary.json")))


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
