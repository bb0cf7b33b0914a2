"""ELPV: 2,624 electroluminescence images of solar cells, 300×300 grey, rated by experts.

The label joins the cell's type with the rating; the rating itself is kept as soft probabilities. As a value it is the
probability of a defect, 0, 1/3, 2/3 or 1, whatever the cell's type.
Buerhop-Lutz et al. 2018; Deitsch et al. 2019, arXiv 1807.02894. CC-BY-NC-SA-4.0: installed, never committed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import _package, _place

KIND = "image"


@dataclass(frozen=True)
class Config:
    path: str = setting("pipeline/sources/elpv.lock")  # pins the package that holds the images
    target: Literal["classes", "value"] = "classes"

    def __post_init__(self) -> None:
        _place.check_inside(self.path)


def read(config: Config) -> Iterator[Example]:
    """Each rated cell, in the order of the authors' table."""
    data = _package.folder(Path(config.path), "elpv_dataset") / "data"
    table = data / "labels.csv"
    for number, line in enumerate(table.read_text("ascii").splitlines(), 1):
        try:
            path, rating, cell = line.split()
            defect = float(rating)
        except ValueError:
            raise DataError(f"{table}:{number}: found {line!r}; expected path, rating, type; reinstall it") from None
        yield _example(data, path, defect, cell, config.target)


def _example(data: Path, path: str, defect: float, cell: str, target: str) -> Example:
    if target == "value":
        return Example(id=path, content=data / path, label=repr(defect))
    label = f"{cell}_{'defect' if defect >= 0.5 else 'ok'}"
    probabilities = {f"{cell}_defect": defect, f"{cell}_ok": 1 - defect}
    return Example(id=path, content=data / path, label=label, probabilities=probabilities)


def describe(config: Config) -> Mapping[str, str]:
    _, version = _package.pinned(Path(config.path))
    return {"licence": "CC-BY-NC-SA-4.0", "origin": "https://github.com/zae-bayern/elpv-dataset", "version": version}
