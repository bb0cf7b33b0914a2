"""What the text models need of the train split alone: a vocabulary for the network, weighted terms for the baseline.

D documents of all splits, train first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import artifacts, prepared
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Split, TextInputs
from pipeline.features import ngrams, terms

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SPECIAL = ["<pad>", "<unk>"]


@dataclass(frozen=True)
class Config:
    length: int = setting(128, low=1, high=100_000, unit="tokens of a text that the network reads")
    minimum_count: int = setting(2, low=1, high=1_000_000, unit="occurrences of a token in train")
    maximum_size: int = setting(50_000, low=10, high=10_000_000, unit="tokens of the vocabulary")
    words: int = setting(2, low=1, high=5, unit="tokens of the longest word n-gram")
    characters: int = setting(4, low=1, high=8, unit="characters of the longest character n-gram")
    minimum_documents: int = setting(2, low=1, high=1_000_000, unit="train texts that hold a term")
    maximum_terms: int = setting(300_000, low=100, high=10_000_000, unit="terms of words and of characters each")
    counting: Literal["sublinear", "plain"] = "sublinear"


@dataclass(frozen=True)
class Block:
    """The terms of words or of characters, sorted, and how often each stands in each document."""

    terms: list[str]
    frequency: np.ndarray  # int64 [terms], train documents that hold each
    counts: "csr_matrix"  # float32 [D, terms]


def vocabulary(types: Sequence[str], tokens: np.ndarray, config: Config) -> list[str]:
    """Padding, unknown, then the tokens by falling count, equal counts in the order of their characters."""
    counted = np.bincount(tokens, minlength=len(types))
    kept = [k for k in np.flatnonzero(counted >= config.minimum_count).tolist() if types[k] not in SPECIAL]
    kept.sort(key=lambda k: (-counted[k], types[k]))
    return SPECIAL + [types[k] for k in kept[: config.maximum_size - len(SPECIAL)]]


def block(
    codes: np.ndarray,
    offsets: np.ndarray,
    spell: Callable[[int, int], str],
    *,
    fitted: int,
    high: int,
    config: Config,
) -> Block:
    """The terms of up to `high` codes that enough of the first `fitted` documents hold.

    `spell(place, size)` gives the text of the n-gram that starts at codes[place].
    """
    found = list(ngrams.grams(codes, offsets, high))
    known: list[tuple[int, str, int, int]] = []  # minus frequency, term, size - 1, id: in the order of preference
    for level, level_grams in enumerate(found):
        kept, frequency = ngrams.frequent(level_grams, fitted, config.minimum_documents)
        spelt = [spell(int(place), level_grams.size) for place in level_grams.first[kept]]
        known += list(zip((-frequency).tolist(), spelt, [level] * len(kept), kept.tolist(), strict=True))
    known = sorted(sorted(known)[: config.maximum_terms], key=lambda item: item[1])
    columns = [np.full(len(level_grams.first), -1) for level_grams in found]
    for column, (_, _, level, gram) in enumerate(known):
        columns[level][gram] = column
    documents = len(offsets) - 1
    total = sum(ngrams.counts(g, c, documents, len(known)) for g, c in zip(found, columns, strict=True))
    return Block([term for _, term, _, _ in known], np.array([-f for f, _, _, _ in known], np.int64), total)


def weigh(counted: "csr_matrix", idf: np.ndarray, counting: str) -> "csr_matrix":
    """TF-IDF of counts, each row of Euclidean norm 1; as features/terms.py does for one text."""
    weighted = counted.astype(np.float64)
    if counting == "sublinear":
        weighted.data = 1 + np.log(weighted.data)
    weighted.data *= idf[weighted.indices]
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(weighted.indptr))
    return weighted


def featurize(folder: Path, out: Path, config: Config) -> dict[str, Any]:
    """Writes the vocabulary, encoded ids, counts and TF-IDF; returns their sizes.

    Raises: DataError for an empty train split.
    """
    types, tokens, offsets = _tokens(folder)
    if not len(tokens["train"]):
        raise DataError(f"{folder}: the train split holds no token; expected texts; see the quarantine's reasons")
    words = vocabulary(types, tokens["train"], config)
    artifacts.write_json(out / "vocabulary.json", words)
    index = {word: k for k, word in enumerate(words)}
    ids = np.array(terms.encode(types, index), np.int32)
    for split in artifacts.SPLITS:
        np.save(out / f"{split}.ids.npy", ids[tokens[split]])
        np.save(out / f"{split}.offsets.npy", offsets[split])
    sizes = _write_terms(folder, out, types, tokens, offsets, config)
    artifacts.write_json(out / "meta.json", {"length": config.length, "vocabulary": len(words), **sizes})
    return {"vocabulary": len(words), **sizes}


def _write_terms(
    folder: Path,
    out: Path,
    types: Sequence[str],
    tokens: dict[str, np.ndarray],
    offsets: dict[str, np.ndarray],
    config: Config,
) -> dict[str, int]:
    from scipy import sparse

    sizes = [len(offsets[split]) - 1 for split in artifacts.SPLITS]
    codes = np.concatenate([tokens[split] for split in artifacts.SPLITS]).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(offsets[split]) for split in artifacts.SPLITS]))])

    def spell_words(place: int, size: int) -> str:
        return " ".join(types[code] for code in codes[place : place + size])

    word = block(codes, starts, spell_words, fitted=sizes[0], high=config.words, config=config)
    texts = [terms.fold(text) for split in artifacts.SPLITS for text in prepared.texts(folder, split)]
    flat, ends = "".join(texts), np.cumsum([0] + [len(text) for text in texts])
    points = np.frombuffer(flat.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)

    def spell_characters(place: int, size: int) -> str:
        return flat[place : place + size]

    character = block(points, ends, spell_characters, fitted=sizes[0], high=config.characters, config=config)
    frequency = np.concatenate([word.frequency, character.frequency])
    idf = np.log((1 + sizes[0]) / (1 + frequency)) + 1
    cut = len(word.terms)
    weighted = [weigh(word.counts, idf[:cut], config.counting), weigh(character.counts, idf[cut:], config.counting)]
    tfidf = sparse.hstack(weighted, "csr").astype(np.float32)
    counted = sparse.hstack([word.counts, character.counts], "csr")
    start = 0
    for split, size in zip(artifacts.SPLITS, sizes, strict=True):
        sparse.save_npz(out / f"{split}.tfidf.npz", tfidf[start : start + size], compressed=False)
        sparse.save_npz(out / f"{split}.counts.npz", counted[start : start + size], compressed=False)
        start += size
    _write_record(out / "tfidf.json", word.terms, character.terms, idf, config)
    return {"word_terms": cut, "character_terms": len(character.terms)}


def _write_record(path: Path, word: list[str], character: list[str], idf: np.ndarray, config: Config) -> None:
    record = {
        "word": word,
        "character": character,
        "idf": idf.tolist(),
        "word_range": [1, config.words],
        "character_range": [1, config.characters],
        "sublinear": config.counting == "sublinear",
    }
    artifacts.write_json(path, record)


def _tokens(place: Path) -> tuple[list[str], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All types, sorted, and each split's tokens as their numbers, with offsets."""
    shards = {split: prepared.shards(place, split) for split in artifacts.SPLITS}
    own = {
        path: artifacts.read_json(prepared.with_suffix(path, ".types.json")) for of in shards.values() for path in of
    }
    types = sorted(set().union(*own.values()))
    numbers = {word: k for k, word in enumerate(types)}
    tokens, offsets = {}, {}
    for split, paths in shards.items():
        codes, lengths = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
        for path in paths:
            place_of = np.array([numbers[word] for word in own[path]], np.int64)
            codes.append(place_of[np.load(prepared.with_suffix(path, ".tokens.npy"))])
            lengths.append(np.diff(np.load(prepared.with_suffix(path, ".offsets.npy"))))
        tokens[split], offsets[split] = np.concatenate(codes), np.cumsum(np.concatenate(lengths))
    return types, tokens, offsets


def inputs(folder: Path, features: Path) -> TextInputs:
    """What the network reads."""
    meta = artifacts.read_json(features / "meta.json")
    return TextInputs(meta["vocabulary"], meta["length"])


def load(folder: Path, features: Path, split: str) -> Split:
    """One split, its ids memory-mapped."""
    return Split(
        labels=prepared.labels(folder, split),
        targets=prepared.targets(folder, split),
        ids=np.load(features / f"{split}.ids.npy", mmap_mode="r"),
        offsets=np.load(features / f"{split}.offsets.npy"),
    )
