"""Texts as the next stages read them: cleaned, cut into words, ragged arrays with offsets."""

from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, config, sides
from pipeline.config import setting
from pipeline.features import cleaning
from pipeline.tokenisers import rjieba

if TYPE_CHECKING:
    import pandas as pd

TOKENISER_FILES = ("dictionary.txt", "stop_words.txt", "tokeniser.json")  # what a tokeniser's `train` may write


@dataclass(frozen=True)
class Config:
    clean: cleaning.Steps = cleaning.Steps()
    tokeniser: Any = setting(rjieba.Config(), folder="tokenisers")
    seed: int = setting(0, low=0, high=2**32 - 1)
    shares: tuple[float, ...] = sides.SHARES  # train, validation, test

    def __post_init__(self) -> None:
        sides.check(self.shares)


def write(
    examples: Mapping[str, "pd.DataFrame"], files: Path, out: Path, config: Config, validation: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes types.json and each split's tokens and offsets, and returns all that serving needs to repeat it.

    Each frame gets its cleaned texts as a column `cleaned`, in place.
    """
    module = tokeniser_module(config.tokeniser.name)
    for rows in examples.values():
        rows["cleaned"] = [cleaning.clean(text, config.clean) for text in rows["text"]]
    module.train(config.tokeniser, examples["train"]["cleaned"], out)
    tokeniser = module.build(config.tokeniser, out, artifacts.STATE)
    numbers: dict[str, int] = {}
    ragged = {}
    for name, rows in examples.items():
        tokens, offsets = array("I"), array("q", [0])
        for text in rows["cleaned"]:
            tokens.extend(numbers.setdefault(word, len(numbers)) for word in tokeniser.cut(text))
            offsets.append(len(tokens))
        ragged[name] = tokens, offsets
    types = sorted(numbers)
    # Words got their numbers as they came; in types.json they stand sorted.
    place = np.empty(len(types), np.uint32)
    place[[numbers[word] for word in types]] = np.arange(len(types), dtype=np.uint32)
    for name, (tokens, offsets) in ragged.items():
        np.save(out / f"{name}.tokens.npy", place[np.frombuffer(tokens, np.uint32)])
        np.save(out / f"{name}.offsets.npy", np.frombuffer(offsets, np.int64))
    artifacts.write_json(out / "types.json", types)
    return described(config, tokeniser.versions, out)


def tokeniser_module(name: str) -> ModuleType:
    return config.plugin("tokenisers", name, "prepare.tokeniser.name")


def described(config: Config, versions: Mapping[str, str], out: Path) -> dict[str, Any]:
    """All that serving needs to repeat it; `files` are those in `out` that the tokeniser reads."""
    files = [name for name in TOKENISER_FILES if (out / name).is_file()]
    return {
        "clean": asdict(config.clean),
        "tokeniser": asdict(config.tokeniser),
        "versions": {**versions, **cleaning.versions(config.clean)},
        "files": files,
    }
