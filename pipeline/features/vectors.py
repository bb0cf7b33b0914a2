"""Vectors of words, learnt from the texts alone: skip-gram over words and runs of their characters.

After Bojanowski et al., arXiv 1607.04606 (fastText), on one thread, so that the same texts and seed give the same
vectors. V words of the vocabulary, D values of a vector, P rows: the words, then buckets of runs of characters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import config
from pipeline.config import setting
from pipeline.features import pretrained
from pipeline.texts import Texts

NOISE = 1_000_000  # entries of the table that other words are drawn from


@dataclass(frozen=True)
class Config:
    dimension: int = setting(0, low=0, high=1000, unit="values a word; 0: no vectors, or as many as file has")
    epochs: int = setting(5, low=1, high=1000)
    window: int = setting(5, low=1, high=100, unit="words to each side, at most")
    negatives: int = setting(5, low=1, high=100, unit="other words drawn for each pair")
    longest: int = setting(3, low=0, high=6, unit="characters of the longest run that words share; 0: none")
    buckets: int = setting(100_000, low=1, high=10_000_000, unit="rows that runs of characters share")
    rate: float = setting(0.05, above=0, high=10, unit="learning rate at the start")
    frequent: float = setting(
        1e-4, above=0, high=1, unit="share of the tokens above which a word is passed over at times"
    )
    seed: int = setting(0, low=0, high=2**32 - 1)
    file: str | None = None  # a file in vectors/, in word2vec's text format, instead of learning

    def __post_init__(self) -> None:
        config.check_place("file", self.file, pretrained.FOLDER)


@dataclass(frozen=True)
class Learnt:
    vectors: np.ndarray  # float32 [V, D], rows of words without a token are 0
    losses: list[float]  # of each epoch, a pair


def runs(word: str, longest: int) -> Iterator[str]:
    """The runs of 1 to `longest` characters of <word>, the signs alone and the whole aside."""
    marked = f"<{word}>"
    for size in range(1, longest + 1):
        for start in range(len(marked) - size + 1):
            run = marked[start : start + size]
            if run not in ("<", ">", marked):
                yield run


def bucket(run: str, buckets: int) -> int:
    """FNV-1a of its UTF-8, as fastText numbers them."""
    number = 2166136261
    for byte in run.encode("utf-8", "surrogatepass"):
        number = ((number ^ byte) * 16777619) & 0xFFFFFFFF
    return number % buckets


def parts(words: Sequence[str], config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each word, itself first: int32 flat, and int64 [V + 1] where each word's begin."""
    rows: list[int] = []
    borders = [0]
    for number, word in enumerate(words):
        rows.append(number)
        rows += [len(words) + bucket(run, config.buckets) for run in runs(word, config.longest)]
        borders.append(len(rows))
    return np.array(rows, np.int32), np.array(borders, np.int64)


def learn(texts: Texts, words: Sequence[str], unknown: int, config: Config) -> Learnt:
    """Reads the texts `epochs` times, shard by shard."""
    from pipeline.features import _skipgram

    counts = token_counts(texts, len(words))
    counts[unknown] = 0  # stands for too many words to have a meaning
    total = counts.sum()
    share = config.frequent * total / np.maximum(counts, 1)
    keep = np.where(counts > 0, np.minimum(1, np.sqrt(share) + share), 0)
    noise = _noise(counts)
    rows_of, borders = parts(words, config)
    random = np.random.default_rng(config.seed)
    rows = random.random((len(words) + config.buckets, config.dimension), np.float32)
    rows = (rows - np.float32(0.5)) * np.float32(2 / config.dimension)
    answers = np.zeros((len(words), config.dimension), np.float32)
    state = random.integers(1, 1 << 63, 1, np.uint64)
    losses, done, tokens = [], 0, max(1, int(texts.lengths.sum(dtype=np.int64))) * config.epochs
    for _ in range(config.epochs if total else 0):
        loss, pairs = 0.0, 0
        for ids, offsets in texts.shards():
            rates = config.rate * (1 - np.array([done, done + len(ids)]) / tokens)
            found = _skipgram.learn(
                ids, offsets, keep, rows_of, borders, noise, rows, answers,
                config.window, config.negatives, rates, state,
            )  # fmt: skip
            loss, pairs, done = loss + found[0], pairs + found[1], done + len(ids)
        losses.append(loss / max(1, pairs))
    return Learnt(_mean(rows, rows_of, borders, counts), losses)


def token_counts(texts: Texts, words: int) -> np.ndarray:
    """How often each word of the vocabulary stands in the texts, int64 [V]."""
    counts = np.zeros(words, np.int64)
    for ids, _ in texts.shards():
        counts += np.bincount(ids, minlength=words)
    return counts


def _noise(counts: np.ndarray) -> np.ndarray:
    """Each word as often as the square root of its count says, at least once if it stands at all; int32."""
    weight = np.sqrt(counts)
    return np.repeat(np.arange(len(counts), dtype=np.int32), np.ceil(weight / max(weight.sum(), 1) * NOISE).astype(int))


def _mean(rows: np.ndarray, rows_of: np.ndarray, borders: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A word's vector is the mean of its rows."""
    out = np.zeros((len(counts), rows.shape[1]), np.float32)
    for word in np.flatnonzero(counts).tolist():
        out[word] = rows[rows_of[borders[word] : borders[word + 1]]].mean(axis=0)
    return out
