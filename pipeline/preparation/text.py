"""Texts as the next stages read them: cleaned, cut into tokens, in shards that know nothing of one another."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b, sha256
from itertools import groupby, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import artifacts, cache, config, parts, sides, texts
from pipeline.config import setting
from pipeline.features import cleaning, rewriting
from pipeline.near import pairs
from pipeline.near import texts as near_texts
from pipeline.tokenisers import rjieba

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("text",)
SMALLEST = 512  # texts of a shard while there are few
ROW_BYTES = 4096  # of a text in all its forms, at least, so that a worker stays small
FORMS = 8  # bytes of memory for a byte of text
SAMPLED = 16  # parts of the accepted texts whose length is measured
TOKENISER_FILES = ("dictionary.txt", "stop_words.txt", "tokeniser.json")  # what a tokeniser's `train` may write
AT_ONCE = 1024  # texts that a tokeniser is given at once


@dataclass(frozen=True)
class Config:
    clean: cleaning.Steps = cleaning.Steps()
    tokeniser: Any = setting(rjieba.Config(), folder="tokenisers")
    seed: int = setting(0, low=0, high=2**32 - 1)
    shares: tuple[float, ...] = sides.SHARES  # train, validation, test

    def __post_init__(self) -> None:
        sides.check(self.shares)


@dataclass(frozen=True)
class Settings:
    """All that decides how a text is cut."""

    steps: cleaning.Steps
    tokeniser: Any  # the Config of one of pipeline/tokenisers/
    files: Path  # the folder with TOKENISER_FILES
    row_bytes: int = ROW_BYTES


@dataclass(frozen=True)
class Job:
    """One shard's texts, as validation accepted them, and where earlier runs have put some of them."""

    texts: "pa.Array"
    made: tuple[cache.Place | None, ...]
    stem: Path
    settings: Settings


def near(config: Config, accepted: Path, found: sides.Near, validation: Mapping[str, Any]) -> sides.Near:
    """What may not stand on two sides once the texts are cleaned as the task says; `found` is of validation's cleaning.

    Steps that are off by default may make equal what was not: traditional and simplified characters, two numbers that
    are masked, a text with and one without a phrase that all of a site's end with.
    """
    if config.clean == cleaning.Steps():
        return found
    numbers: dict[str, int] = {}
    every = (text for part in parts.each(accepted, ["text"]) for text in part["text"])
    cleaned = cleaning.each(every, config.clean)
    same = np.array([numbers.setdefault(text, len(numbers)) for text, _ in cleaned], np.int64)
    before = same[found.pairs]
    distinct, how = list(numbers), {"jaccard": validation["near_jaccard"], "method": validation["near_method"]}
    both = [before[before[:, 0] != before[:, 1]], near_texts.neighbours(distinct, **how)]
    return replace(found, same=same, pairs=pairs.collected(both, "validate.near_jaccard"))


def settings(
    config: Config, accepted: Path, found: np.ndarray, files: Path, validation: Mapping[str, Any], out: Path
) -> Settings:
    """Trains the tokeniser, where it is one that learns, on the train split; `found` [N] is 0 for a row of train."""
    train = (cleaning.clean(text, config.clean) for text in _of_train(accepted, found))
    tokeniser_module(config.tokeniser.name).train(config.tokeniser, train, out)
    return Settings(config.clean, config.tokeniser, out, _row_bytes(accepted))


def _row_bytes(accepted: Path) -> int:
    """A power of two, so that few new texts do not move the borders of all shards."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    paths = parts.files(accepted)
    some = paths[:: -(-len(paths) // SAMPLED)] if paths else []
    lengths = [pc.binary_length(pq.read_table(path, columns=["text"])["text"]) for path in some]
    count = sum(map(len, lengths))
    mean = sum(pc.sum(length).as_py() or 0 for length in lengths) / count if count else 0.0
    return max(ROW_BYTES, 1 << int(FORMS * mean).bit_length())


def _of_train(accepted: Path, found: np.ndarray) -> Iterator[str]:
    start = 0
    for part in parts.each(accepted, ["text"]):
        column = part["text"]
        yield from column[found[start : start + len(column)] == 0]
        start += len(column)


def tokeniser_module(name: str) -> ModuleType:
    return config.plugin("tokenisers", name, "prepare.tokeniser.name")


@functools.lru_cache(maxsize=1)
def _tokeniser(settings: Settings) -> Any:
    return tokeniser_module(settings.tokeniser.name).build(settings.tokeniser, settings.files, artifacts.STATE)


def record(settings: Settings) -> dict[str, Any]:
    """What serving needs to repeat it; `files` are those beside it that the tokeniser reads."""
    return {
        "clean": _plain(settings.steps),
        "tokeniser": _plain(settings.tokeniser),
        "versions": _tokeniser(settings).versions | cleaning.versions(settings.steps),
        "files": [name for name in TOKENISER_FILES if (settings.files / name).is_file()],
    }


def recorded(folder: Path) -> Settings:
    """What data/prepared/<task> was made with."""
    said = artifacts.read_json(folder / "meta.json")["preparation"]
    where = f"{folder}/meta.json: preparation"
    steps = config.parse(cleaning.Steps, said["clean"], f"{where}.clean")
    module = tokeniser_module(said["tokeniser"]["name"])
    return Settings(steps, config.parse(module.Config, said["tokeniser"], f"{where}.tokeniser"), folder)


def cut(given: Iterable[str], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """Each text, cleaned, and its tokens, as a shard's are made."""
    cleaned = (text for text, _ in cleaning.each(given, settings.steps))
    for batch in iter(lambda: list(islice(cleaned, AT_ONCE)), []):
        yield from zip(batch, _tokeniser(settings).cut_all(batch), strict=True)


def _plain(config: Any) -> dict[str, Any]:
    """A Config as JSON gives it back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}


def key(settings: Settings) -> str:
    """One word for all that decides a text's tokens beside the text."""
    said = record(settings)
    learnt = {name: sha256((settings.files / name).read_bytes()).hexdigest() for name in said["files"]}
    tokenisers = Path(rjieba.__file__).parent
    modules = (cleaning, rewriting, texts)
    code = [Path(__file__), *(Path(str(module.__file__)) for module in modules), *sorted(tokenisers.glob("*.py"))]
    return cache.key({**said, "files": learnt}, code)


def suffixes(settings: Settings) -> tuple[str, ...]:
    """Of a shard's files."""
    return texts.SUFFIXES


def row_bytes(settings: Settings) -> int:
    return settings.row_bytes


def digests(table: "pa.Table") -> np.ndarray:
    """uint8 [n, DIGEST] of the texts."""
    words = (
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=cache.DIGEST) for text in table["text"].to_pylist()
    )
    return np.frombuffer(b"".join(word.digest() for word in words), np.uint8).reshape(-1, cache.DIGEST)


def job(table: "pa.Table", settings: Settings, stem: Path, made: Sequence[cache.Place | None]) -> Job:
    return Job(table["text"].combine_chunks(), tuple(made), stem, settings)


def shard(job: Job) -> int:
    """Writes the shard's cleaned texts and their tokens, and returns how many texts had to be cut."""
    import pyarrow as pa

    cleaned: list[str] = []
    changed: list[int] = []
    texts.Cut.of(_worked(job, cleaned, changed)).write(job.stem)
    texts.write(job.stem, cleaned, changed)
    pa.default_memory_pool().release_unused()  # 30 MB that Arrow would keep for the next shard
    return sum(place is None for place in job.made)


def _worked(job: Job, cleaned: list[str], changed: list[int]) -> Iterator[list[str]]:
    """The tokens of each text; the cleaned text, and what cleaning changed, are added to the lists."""
    known = _known(job.made)
    masks: dict[tuple[int, ...], int] = {}
    for start in range(0, len(job.made), AT_ONCE):
        made = job.made[start : start + AT_ONCE]
        batch = job.texts[start : start + AT_ONCE].to_pylist()
        fresh = list(cleaning.each((text for text, place in zip(batch, made) if place is None), job.settings.steps))
        cut = iter(_tokeniser(job.settings).cut_all([text for text, _ in fresh]))
        again = iter(fresh)
        for place in made:
            if place is None:
                text, counts = next(again)
                bits = masks.get(counts)
                if bits is None:
                    bits = masks[counts] = texts.mask(counts)
                cleaned.append(text)
                changed.append(bits)
                yield next(cut)
            else:
                text, bits, words = known[place]
                cleaned.append(text)
                changed.append(bits)
                yield words


def _known(made: Iterable[cache.Place | None]) -> dict[cache.Place, tuple[str, int, list[str]]]:
    """Text, mask of changes and tokens of each that an earlier shard holds; one such shard in memory at a time."""
    found = {}
    for stem, places in groupby(sorted((p for p in made if p), key=lambda p: str(p.stem)), key=lambda p: p.stem):
        earlier, (old, masked) = texts.Cut.read(stem), texts.read(stem)
        for place in places:
            found[place] = old[place.row], masked[place.row], earlier.words(place.row)
    return found


def changed(stems: Iterable[Path]) -> dict[str, int]:
    """How many texts each step of cleaning changed, in some shards."""
    total = np.zeros(len(cleaning.COUNTED), np.int64)
    for stem in stems:
        total += texts.changes(stem, len(total))
    return dict(zip(cleaning.COUNTED, total.tolist(), strict=True))
