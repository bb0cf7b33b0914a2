"""Characters as tokens: needs no dictionary and knows every word."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Config:
    name: Literal["char"] = "char"


class Tokeniser:
    """Cuts texts into their characters, white space left out."""

    versions: dict[str, str] = {}  # noqa: RUF012 - nothing decides but this file

    def cut(self, text: str) -> list[str]:
        return [character for character in text if not character.isspace()]

    def cut_all(self, texts: Sequence[str]) -> list[list[str]]:
        return [self.cut(text) for text in texts]


def train(config: Config, texts: Iterable[str], out: Path) -> None:
    """Nothing is learnt and nothing written."""


def build(config: Config, files: Path | None = None, cache: Path | None = None) -> Tokeniser:
    return Tokeniser()
