"""What bpe and wordpiece share: training on texts, the file tokeniser.json, cutting. By Hugging Face's tokenizers.

Equal texts, in whatever order, give an equal file: what the library leaves to the order of a hash table is set here.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.tokenisers import _words

FILE = "tokeniser.json"
UNKNOWN = "<unk>"  # as in the vocabulary of features/text.py
LARGEST_SAMPLE = 20_000_000  # characters of texts held in memory for training
HAN = r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"


class Tokeniser:
    """Cuts texts into the pieces of a trained or a user's tokeniser.json."""

    def __init__(self, files: Path | None) -> None:
        if files is None:
            raise DataError(f"{FILE}: no folder given; expected that of the prepared data; prepare again")
        self.versions = {"tokenizers": importlib.metadata.version("tokenizers")}
        self._tokenizer = _load(files / FILE)
        numbers = self._tokenizer.get_vocab().items()
        self._pieces = {number: piece for piece, number in numbers}

    def cut(self, text: str) -> list[str]:
        return self.cut_all([text])[0]

    def cut_all(self, texts: Sequence[str]) -> list[list[str]]:
        batch = [_whole(text) for text in texts]
        found = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        return [[self._pieces[number] for number in each.ids] for each in found]


def _whole(text: str) -> str:
    """The text without half characters, which the library cannot take."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "", text)


def library() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are processes; results are the same either way
    import tokenizers

    return tokenizers


def _load(path: Path) -> Any:
    try:
        found = library().Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exceptions
        raise DataError(f"{path}: {str(error)[:200]}; expected a tokenizer.json of Hugging Face tokenizers") from None
    found.no_truncation()
    found.no_padding()
    return found


def copy(path: str, model: str, out: Path) -> None:
    """Copies a user's tokenizer.json into `out`. Raises: DataError when it is none, or of another model."""
    text = "".join(_words.lines(Path(path)))
    _load(Path(path))
    found = json.loads(text)["model"].get("type")
    if found != model:
        raise DataError(
            f"{path}: found a tokenizer of {found}; expected {model}; choose another prepare.tokeniser.name"
        )
    shutil.copyfile(path, out / FILE)


def check(pieces: int, minimum_count: int) -> None:
    """Raises: ValueError."""
    if not 100 <= pieces <= 1_000_000:
        raise ValueError(f"pieces: found {pieces}; expected a whole number ≥ 100 and ≤ 1000000")
    if minimum_count < 1:
        raise ValueError(f"minimum_count: found {minimum_count}; expected a whole number ≥ 1")


def sample(texts: Iterable[str], limit: int = LARGEST_SAMPLE) -> list[str]:
    """The texts, or where they are more than `limit` characters those of the lowest hashes, in the order of these."""
    held: list[tuple[bytes, str]] = []
    size, highest = 0, b"\xff" * 9
    for text in texts:
        place = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if place < highest:
            held.append((place, text))
            size += len(text)
        if size > 2 * limit:
            held, size, highest = _lowest(held, limit)
    return [text for _, text in _lowest(held, limit)[0]]


def _lowest(held: list[tuple[bytes, str]], limit: int) -> tuple[list[tuple[bytes, str]], int, bytes]:
    """The first by hash that fit into `limit` characters, their size, and the hash of the first that does not."""
    held.sort()
    size = 0
    for k, (place, text) in enumerate(held):
        if k and size + len(text) > limit:
            return held[:k], size, place
        size += len(text)
    return held, size, b"\xff" * 9


def save(vocabulary: Sequence[str], model: Any, splitter: Any, out: Path) -> None:
    """Writes tokeniser.json of a model without special tokens, so that no text can name one."""
    if not vocabulary:
        raise DataError(f"{out}: no text to train a tokeniser on; expected train texts; see the quarantine's reasons")
    found = library().Tokenizer(model)
    found.pre_tokenizer = splitter
    (out / FILE).write_text(found.to_str(), "utf-8")
