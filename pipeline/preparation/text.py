"""Texts as the next stages read them: cleaned, cut into words, ragged arrays with offsets."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, sides
from pipeline.config import setting
from pipeline.features import cleaning, tokenising

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Config:
    entities: bool = True  # &amp; and the like resolved
    normalise: bool = True  # NFKC: full-width forms become ASCII
    lower: bool = True
    hmm: bool = True  # jieba also finds words that its dictionary lacks
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
    tokeniser = tokenising.Tokeniser(hmm=config.hmm, cache=artifacts.STATE)
    steps = {"entities": config.entities, "normalise": config.normalise, "lower": config.lower}
    numbers: dict[str, int] = {}
    ragged = {}
    for name, rows in examples.items():
        rows["cleaned"] = [cleaning.clean(text, **steps) for text in rows["text"]]
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
    return {**steps, "hmm": config.hmm, **tokeniser.versions}
