"""The train split's paraphrases, cleaned and cut like its texts: one more shard, in data/features/<task>.

Row r of the split has the rows r * copies to (r + 1) * copies of the shard, without a token where there is none.
What a command has answered stays in .danlu/paraphrases, so that new data alone are asked for; it may be deleted.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from pipeline import artifacts, prepared, texts
from pipeline.features import paraphrases
from pipeline.features.paraphrases import Config
from pipeline.preparation import text as preparation
from pipeline.texts import Cut

STEM = "paraphrases"


def write(folder: Path, out: Path, config: Config) -> dict[str, int]:
    """Asks for the paraphrases of the train split in data/prepared/<task>, and of no other; returns what came."""
    originals = prepared.cleaned(folder, "train")
    found = _given(list(dict.fromkeys(originals)), config)
    settings = preparation.recorded(folder)
    cleaned: list[str] = []

    def tokens() -> Iterator[list[str]]:
        every = (copy for text in originals for copy in found[text])
        for text, words in preparation.cut(every, settings):
            cleaned.append(text)
            yield words

    Cut.of(tokens()).write(out / STEM)
    texts.write(out / STEM, cleaned, [0] * len(cleaned))
    same = sum(a == b for a, b in zip(cleaned, (t for t in originals for _ in range(config.copies)), strict=True))
    return {"copies": config.copies, "texts": len(cleaned), "none": cleaned.count(""), "same": same}


def _given(originals: Sequence[str], config: Config) -> dict[str, tuple[str, ...]]:
    """Each text's paraphrases, those that an earlier run was given included."""
    kept = artifacts.STATE / STEM / f"{_key(config)}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a+b") as file:
        found = _earlier(file)
        new = [text for text in originals if text not in found]
        if new:
            with TemporaryDirectory() as scratch:
                for text, given in zip(new, paraphrases.ask(new, config, Path(scratch)), strict=True):
                    file.write(json.dumps([text, given]).encode() + b"\n")
                    found[text] = given
    return found


def _earlier(file: IO[bytes]) -> dict[str, tuple[str, ...]]:
    """What a file holds up to where a killed run left half a line, which is cut off."""
    found: dict[str, tuple[str, ...]] = {}
    file.seek(0)
    whole = 0
    for line in file:
        try:
            text, given = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        found[text] = tuple(given)
        whole += len(line)
    file.truncate(whole)
    return found


def _key(config: Config) -> str:
    """A word for the command, the files that it names and the copies."""
    digest = hashlib.sha256(repr((config.command, config.copies)).encode())
    for word in config.command:
        if Path(word).is_file():
            digest.update(Path(word).read_bytes())
    return digest.hexdigest()[:16]
