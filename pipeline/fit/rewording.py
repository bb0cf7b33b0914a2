"""What is done at random to the texts of a train batch, on their token ids; after Wei and Zou, arXiv 1901.11196.

Each function draws for every text of the global batch, and leaves padding at the end.
B texts of the global batch, T tokens of the longest, V words of the vocabulary, P pairs of synonyms.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import artifacts
from pipeline.errors import ConfigError
from pipeline.examples import TokenIds
from pipeline.features import markers
from pipeline.fit.settings import Texts
from pipeline.texts import Texts as Ids

Random = np.random.Generator


@dataclass(frozen=True)
class Words:
    """What augmentation knows of the vocabulary, and of the train split's texts."""

    negating: np.ndarray  # bool [V]
    ending: np.ndarray  # bool [V]: a clause
    starts: np.ndarray  # int64 [V + 1]: where a word's synonyms begin
    synonyms: np.ndarray  # int64 [P]
    paraphrases: TokenIds | None = None  # those of row r from row r * copies on
    copies: int = 1


def load(features: Path, config: Texts) -> Words | None:
    """From data/features/<task>; None where no text is reworded.

    Raises: ConfigError for synonyms or paraphrases that featurize has not been told to find.
    """
    if not any((config.paraphrase, config.shuffle, config.synonyms, config.insertion, config.swap, config.deletion)):
        return None
    vocabulary = artifacts.read_json(features / "vocabulary.json")
    pairs = np.zeros((0, 2), np.int32)
    if config.synonyms or config.insertion:
        name = "synonyms" if config.synonyms else "insertion"
        _require(features / "synonyms.npy", name, "features.synonyms.source to dictionary or vectors")
        pairs = np.load(features / "synonyms.npy", allow_pickle=False)
    paraphrases, copies = None, 1
    if config.paraphrase:
        _require(features / "paraphrases.json", "paraphrase", "features.paraphrases.command")
        paraphrases = Ids.open([features / "paraphrases"], vocabulary, vocabulary.index("<unk>"))
        copies = artifacts.read_json(features / "paraphrases.json")["copies"]
    return Words(
        np.array([markers.negates(word) for word in vocabulary]),
        np.array([markers.ends_clause(word) for word in vocabulary]),
        np.searchsorted(pairs[:, 0], np.arange(len(vocabulary) + 1)),
        pairs[:, 1].astype(np.int64),
        paraphrases,
        copies,
    )


def _require(path: Path, field: str, setting: str) -> None:
    if not path.is_file():
        raise ConfigError(f"train.texts.{field}: found a share, but no {path}; expected 0, or that file; set {setting}")


def reworded(ids: np.ndarray, rows: np.ndarray, words: Words, config: Texts, random: Random, length: int) -> np.ndarray:
    """The texts [B, T], which are rows [B] of the train split, as the network sees them this once: int64 [B, T'].

    T' is at most `length`, as many as the longest of them has, and at least 1.
    """
    if config.paraphrase:
        ids = paraphrased(ids, rows, words, config.paraphrase, random, length)
    if config.shuffle:
        ids = shuffled(ids, words, config.shuffle, random)
    if config.synonyms:
        ids = replaced(ids, words, config.synonyms, random)
    if config.insertion:
        ids = inserted(ids, words, config.insertion, random, length)
    if config.swap:
        ids = swapped(ids, config.swap, random)
    if config.deletion:
        ids = deleted(ids, words, config.deletion, random)
    return ids


def paraphrased(
    ids: np.ndarray, rows: np.ndarray, words: Words, share: float, random: Random, length: int
) -> np.ndarray:
    """A share of the texts that have paraphrases is one of them instead."""
    assert words.paraphrases is not None
    chosen = random.random(len(rows)) < share
    places = rows * words.copies + random.integers(words.copies, size=len(rows))
    chosen &= words.paraphrases.lengths[places] > 0
    if not chosen.any():
        return ids
    others = words.paraphrases.padded(places[chosen], length)
    out = np.zeros((len(ids), max(ids.shape[1], others.shape[1])), np.int64)
    out[:, : ids.shape[1]] = ids
    out[chosen] = 0
    out[chosen, : others.shape[1]] = others
    return _trimmed(out)


def shuffled(ids: np.ndarray, words: Words, share: float, random: Random) -> np.ndarray:
    """The clauses of a share of the texts in another order; a clause keeps its order and its end."""
    chosen = np.flatnonzero(random.random(len(ids)) < share)
    keys = random.random(ids.shape)[chosen]
    some = ids[chosen]
    clause = np.cumsum(words.ending[some], axis=1)
    clause[:, 1:] = clause[:, :-1].copy()
    clause[:, 0] = 0
    place = np.take_along_axis(keys, clause, axis=1)
    place[some == 0] = 1  # above every key
    out = ids.copy()
    out[chosen] = np.take_along_axis(some, np.argsort(place, axis=1, kind="stable"), axis=1)
    return out


def _synonym(ids: np.ndarray, words: Words, random: Random) -> np.ndarray:
    """One of each token's synonyms, of equal chance; the token itself where it has none."""
    first, count = words.starts[ids], words.starts[ids + 1] - words.starts[ids]
    drawn = first + (random.random(ids.shape) * count).astype(np.int64)
    return np.where(count > 0, words.synonyms[np.minimum(drawn, len(words.synonyms) - 1)], ids)


def replaced(ids: np.ndarray, words: Words, share: float, random: Random) -> np.ndarray:
    if not len(words.synonyms):
        return ids
    return np.where(random.random(ids.shape) < share, _synonym(ids, words, random), ids)


def inserted(ids: np.ndarray, words: Words, share: float, random: Random, length: int) -> np.ndarray:
    """For a share of the words with synonyms one more word, a synonym, anywhere in the text."""
    if not len(words.synonyms):
        return ids
    chosen, fresh = random.random(ids.shape) < share, _synonym(ids, words, random)
    chosen &= words.starts[ids + 1] > words.starts[ids]
    sizes = (ids != 0).sum(axis=1, keepdims=True)
    gaps = np.floor(random.random(ids.shape) * (sizes + 1)) - 0.5  # k - 0.5: before token k
    if not chosen.any():
        return ids
    text, at = np.nonzero(ids)
    more, _ = np.nonzero(chosen)
    of = np.concatenate([text, more])
    order = np.lexsort((np.concatenate([at, gaps[chosen]]), of))
    return _packed(np.concatenate([ids[text, at], fresh[chosen]])[order], of[order], len(ids), length)


def swapped(ids: np.ndarray, share: float, random: Random) -> np.ndarray:
    """A share of the tokens of each text, taken in a random order, each at the place of the next."""
    draws = random.random(ids.shape)
    text, at = np.nonzero((draws < share) & (ids != 0))
    if not len(text):
        return ids
    order = np.lexsort((draws[text, at], text))
    at = at[order]  # text[order] equals text
    ends = np.flatnonzero(np.diff(text, append=-1))
    following = np.arange(1, len(text) + 1)
    following[ends] = np.concatenate([[0], ends[:-1] + 1])
    out = ids.copy()
    out[text, at] = ids[text, at[following]]
    return out


def deleted(ids: np.ndarray, words: Words, share: float, random: Random) -> np.ndarray:
    """Without a share of the tokens, negators aside; of a text at least one is left."""
    draws = random.random(ids.shape)
    there = ids != 0
    kept = there & ((draws >= share) | words.negating[ids])
    bare = np.flatnonzero(there.any(axis=1) & ~kept.any(axis=1))
    kept[bare, np.where(there, draws, -1.0)[bare].argmax(axis=1)] = True
    if (kept == there).all():
        return ids
    text, at = np.nonzero(kept)
    return _packed(ids[text, at], text, len(ids), ids.shape[1])


def _packed(flat: np.ndarray, text: np.ndarray, count: int, length: int) -> np.ndarray:
    """int64 [B, T]: flat tokens as their texts' rows, whose numbers rise; cut at `length`."""
    sizes = np.bincount(text, minlength=count)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    inside = place < length
    out = np.zeros((count, max(1, min(length, int(sizes.max(initial=0))))), np.int64)
    out[text[inside], place[inside]] = flat[inside]
    return out


def _trimmed(ids: np.ndarray) -> np.ndarray:
    """Without columns of padding alone."""
    return ids[:, : max(1, int((ids != 0).sum(axis=1).max(initial=0)))]
