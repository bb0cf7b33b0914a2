"""Texts as the next stages read them: cleaned, cut into words, in shards that know nothing of one another."""

import functools
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, cache, sides
from pipeline.config import setting
from pipeline.features import cleaning, tokenising

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("text",)
SUFFIXES = (".texts.parquet", ".tokens.npy", ".offsets.npy", ".types.json")
SMALLEST = 256  # texts of a shard while there are few
ROW_BYTES = 512  # about, of a text in all its forms


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


@dataclass(frozen=True)
class Settings:
    """All that decides how a text is cut."""

    steps: Mapping[str, bool]
    hmm: bool


@dataclass(frozen=True)
class Job:
    """One shard's texts, as validation accepted them."""

    texts: tuple[str, ...]
    stem: Path
    settings: Settings


def settings(
    config: Config, accepted: Path, found: np.ndarray, files: Path, validation: Mapping[str, Any], out: Path
) -> Settings:
    return Settings({"entities": config.entities, "normalise": config.normalise, "lower": config.lower}, config.hmm)


def record(settings: Settings) -> dict[str, Any]:
    """What serving needs to repeat it."""
    return {**settings.steps, "hmm": settings.hmm, **tokenising.versions()}


def key(settings: Settings) -> str:
    """One word for all that decides a text's tokens beside the text."""
    return cache.key(record(settings), [Path(__file__), Path(cleaning.__file__), Path(tokenising.__file__)])


def row_bytes(settings: Settings) -> int:
    return ROW_BYTES


def digests(table: "pa.Table") -> np.ndarray:
    """uint8 [n, DIGEST] of the texts."""
    words = [
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=cache.DIGEST) for text in table["text"].to_pylist()
    ]
    return np.frombuffer(b"".join(word.digest() for word in words), np.uint8).reshape(-1, cache.DIGEST)


def job(table: "pa.Table", settings: Settings, stem: Path, made: Sequence[cache.Place | None]) -> Job:
    return Job(tuple(table["text"].to_pylist()), stem, settings)


@functools.lru_cache(maxsize=1)
def _tokeniser(hmm: bool) -> tokenising.Tokeniser:
    return tokenising.Tokeniser(hmm=hmm, cache=artifacts.STATE)


def shard(job: Job) -> int:
    """Writes the shard's cleaned texts, and their tokens as numbers of its own sorted list of types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tokeniser = _tokeniser(job.settings.hmm)
    cleaned = [cleaning.clean(text, **job.settings.steps) for text in job.texts]
    numbers: dict[str, int] = {}
    tokens, offsets = array("I"), array("q", [0])
    for text in cleaned:
        tokens.extend(numbers.setdefault(word, len(numbers)) for word in tokeniser.cut(text))
        offsets.append(len(tokens))
    types = sorted(numbers)
    # Words got their numbers as they came; in the list of types they stand sorted.
    place = np.empty(len(types), np.uint16 if len(types) <= 1 << 16 else np.uint32)
    place[[numbers[word] for word in types]] = np.arange(len(types))
    np.save(f"{job.stem}.tokens.npy", place[np.frombuffer(tokens, np.uint32)])
    np.save(f"{job.stem}.offsets.npy", np.frombuffer(offsets, np.int64))
    Path(f"{job.stem}.types.json").write_text(json.dumps(types, ensure_ascii=False), "utf-8")
    pq.write_table(pa.table({"text": pa.array(cleaned, pa.string())}), f"{job.stem}.texts.parquet", compression="zstd")
    return len(cleaned)
