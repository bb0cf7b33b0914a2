"""Where a network's first weights come from, and who teaches it. Without torch, so that a check stays quick."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import setting
from pipeline.errors import ConfigError

FOLDER = Path("weights")
REGISTERED = re.compile(r"models:/([\w.-]{1,100})(?:@([\w.-]{1,100})|/(\d{1,9}))")
"""A registered model by its alias or its version."""


@dataclass(frozen=True)
class Weights:
    """Weights of one's own: one of the two."""

    file: str | None = None  # weights/<name>.safetensors
    model: str | None = None  # models:/<name>@<alias>, registered here, whose network was trained here

    def __post_init__(self) -> None:
        _one_of(self.file, self.model, ".safetensors")


Init = Literal["random", "pretrained"] | Weights


@dataclass(frozen=True)
class Teacher:
    """Answers to learn from beside the targets, after Hinton et al., arXiv 1503.02531: one of file and model."""

    file: str | None = None  # weights/<name>.npy: probabilities or values of the train split, in its order
    model: str | None = None  # models:/<name>@<alias>, asked once about the train split
    share: float = setting(0.5, above=0, high=1, unit="of the loss that the teacher has; the targets have the rest")
    temperature: float = setting(2.0, low=1, high=100, unit="by which logits are divided; more shows small differences")

    def __post_init__(self) -> None:
        _one_of(self.file, self.model, ".npy")


def _one_of(file: str | None, model: str | None, suffix: str) -> None:
    if (file is None) == (model is None):
        both = "both" if file else "neither"
        raise ValueError(f"found {both} of file and model; expected one, such as file: {FOLDER}/x{suffix}")
    if file is not None:
        parts = Path(file).parts
        if parts[:1] != FOLDER.parts or ".." in parts or not file.endswith(suffix):
            raise ValueError(f"file: found {file!r}; expected {FOLDER}/<name>{suffix}; put it there")
    if model is not None and not REGISTERED.fullmatch(model):
        raise ValueError(f"model: found {model!r}; expected models:/<name>@<alias>, such as models:/solar@champion")


def check(init: Init, teacher: Teacher | None, model: Mapping[str, Any], where: str) -> None:
    """Raises: ConfigError for published weights of a model that has none, and for a file that is not there."""
    if init == "pretrained" and model.get("name") != "torchvision":
        raise ConfigError(
            f"{where}.init: found pretrained for model.name {model.get('name')!r}; expected the model torchvision, "
            "whose weights are published; or set it to random, or to {file: …} or {model: …}"
        )
    for name, given in (("init", init), ("teacher", teacher)):
        file = getattr(given, "file", None)
        if file is not None and not Path(file).is_file():
            raise ConfigError(f"{where}.{name}.file: found {file!r}, which is missing; expected a file; put it there")
