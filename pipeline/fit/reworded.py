"""A table of what augmentation does to some texts of the train split, for the eye of whoever chose it."""

from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts, batches
from pipeline.examples import Split, TextInputs
from pipeline.fit import rewording
from pipeline.fit.rewording import Words
from pipeline.fit.settings import Config

FILE = "augmented.json"
COUNT = 8  # texts
Marked = list[tuple[str, bool]]  # tokens, and whether the other text lacks them there


def table(train: Split, inputs: TextInputs, words: Words | None, vocabulary: list[str], config: Config) -> list[Any]:
    """Rows `original` and `augmented` of texts that lie evenly in the split, drawn by the seed."""
    rows = np.unique(np.linspace(0, len(train) - 1, COUNT).round().astype(np.int64))
    random = np.random.default_rng(config.seed)
    before = after = batches.read(train, rows, inputs)
    if words:
        after = rewording.reworded(before, rows, words, config.texts, random, inputs.length)
    if config.texts.unknown:
        after = batches.blanked(after, random, config.texts.unknown)
    return [_row([vocabulary[k] for k in a[a > 0]], [vocabulary[k] for k in b[b > 0]]) for a, b in zip(before, after)]


def _row(before: list[str], after: list[str]) -> dict[str, Marked]:
    same = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    kept = {k for block in same for k in range(block.a, block.a + block.size)}
    held = {k for block in same for k in range(block.b, block.b + block.size)}
    return {
        "original": [(token, k not in kept) for k, token in enumerate(before)],
        "augmented": [(token, k not in held) for k, token in enumerate(after)],
    }


def write(folder: Path, features: Path, train: Split, inputs: TextInputs, words: Words | None, config: Config) -> None:
    """augmented.json, where texts are augmented."""
    if words or config.texts.unknown:
        vocabulary = artifacts.read_json(features / "vocabulary.json")
        artifacts.write_json(folder / FILE, table(train, inputs, words, vocabulary, config))
