"""What the text models need of the train split alone: a vocabulary for the network, weighted terms for the baseline.

N texts of a split.
"""

import heapq
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import artifacts, prepared
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Split, TextInputs
from pipeline.features import bag, pretrained, terms
from pipeline.features import paraphrases as text_paraphrases
from pipeline.features import synonyms as word_synonyms
from pipeline.features import vectors as word_vectors
from pipeline.features.sums import Strings
from pipeline.texts import Cut, Texts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SPECIAL = ["<pad>", "<unk>"]
TOKENISER = "tokeniser.json"  # that wordpiece and bpe leave in the prepared data
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    length: int = setting(128, low=1, high=100_000, unit="tokens of a text that the network reads")
    minimum_count: int = setting(2, low=1, high=1_000_000, unit="occurrences of a token in train")
    maximum_size: int = setting(50_000, low=10, high=10_000_000, unit="tokens of the vocabulary")
    reserved: tuple[str, ...] = ()  # tokens that the vocabulary has first, after padding and unknown
    pieces: Literal["train", "all"] = "train"  # all: those of wordpiece or bpe that train never shows come last
    words: int = setting(2, low=1, high=5, unit="tokens of the longest word n-gram")
    characters: int = setting(4, low=1, high=8, unit="characters of the longest character n-gram")
    minimum_documents: int = setting(2, low=1, high=1_000_000, unit="train texts that hold a term")
    maximum_terms: int = setting(300_000, low=100, high=10_000_000, unit="terms of words and of characters each")
    counting: Literal["sublinear", "plain"] = "sublinear"
    weighting: Literal["tfidf", "counts"] = "tfidf"  # counts: a bag of words, neither weighted nor of norm 1
    documents: int = setting(100_000, low=100, high=100_000_000, unit="train texts that terms are fitted on, at most")
    vectors: word_vectors.Config = word_vectors.Config()  # off unless dimension is above 0 or there is a file
    synonyms: word_synonyms.Config = word_synonyms.Config()  # for train.texts.synonyms and insertion
    paraphrases: text_paraphrases.Config = text_paraphrases.Config()  # for train.texts.paraphrase

    def __post_init__(self) -> None:
        if self.synonyms.source == "vectors" and not (self.vectors.dimension or self.vectors.file):
            raise ValueError("synonyms.source: found vectors, of which there are none; set vectors.dimension or file")
        first = [*SPECIAL, *self.reserved]
        if len(set(first)) < len(first) or len(first) >= self.maximum_size:
            raise ValueError(
                f"reserved: found {list(self.reserved)}; expected different tokens other than {', '.join(SPECIAL)}, "
                f"with these two fewer than maximum_size ({self.maximum_size})"
            )


def vocabulary(counted: Iterable[tuple[str, int]], config: Config, pieces: Sequence[str] = ()) -> list[str]:
    """Padding, unknown, the reserved, then tokens by falling count, equal counts by their characters, then `pieces`."""
    first = [*SPECIAL, *config.reserved]
    taken = set(first)
    kept = ((-count, word) for word, count in counted if count >= config.minimum_count and word not in taken)
    size = config.maximum_size - len(first)
    best = list(itertools.islice(kept, size))
    best = heapq.nsmallest(size, itertools.chain(best, kept)) if len(best) == size else sorted(best)
    words = first + [word for _, word in best]
    taken.update(words)
    return [*words, *(piece for piece in pieces if piece not in taken)][: config.maximum_size]


def _pieces(folder: Path) -> list[str]:
    """All pieces of the tokeniser of prepared data, as it numbers them. Raises: DataError where it has none."""
    path = folder / TOKENISER
    if not path.is_file():
        raise DataError(f"{path}: missing; expected wordpiece or bpe as the tokeniser; set features.pieces: train")
    record = artifacts.read_json(path)
    numbers = record["model"]["vocab"] | {added["content"]: added["id"] for added in record["added_tokens"]}
    return sorted(numbers, key=numbers.__getitem__)


def counted(stems: Sequence[Path], scratch: Path) -> Strings:
    """How often each token stands in the shards."""
    sums = Strings(scratch)
    for stem in stems:
        cut = Cut.read(stem)
        sums.add(cut.types, np.bincount(cut.codes, minlength=len(cut.types)))
    return sums


def featurize(folder: Path, out: Path, config: Config) -> dict[str, Any]:
    """Writes the vocabulary, the terms and, where asked for, vectors.npy, float32 [V, D]; returns the sizes.

    Raises: DataError for a train split without a token.
    """
    with TemporaryDirectory(dir=out) as scratch:
        sums = counted(prepared.shards(folder, "train"), Path(scratch))
        pieces = _pieces(folder) if config.pieces == "all" else []
        words = vocabulary(sums.items(config.minimum_count), config, pieces)
    if len(words) == len(SPECIAL) + len(config.reserved):
        raise DataError(
            f"{folder}: no token stands {config.minimum_count} times in the train split; expected texts; see the "
            "quarantine's reasons, or lower features.minimum_count"
        )
    artifacts.write_json(out / "vocabulary.json", words)
    sizes = _write_terms(folder, out, config)
    meta: dict[str, Any] = {"length": config.length, "vocabulary": len(words), "documents": config.documents, **sizes}
    if config.vectors.file or config.vectors.dimension or config.synonyms.source != "off":
        texts = Texts.open(prepared.shards(folder, "train"), words, terms.UNKNOWN)
        vectors = _vectors(texts, words, out, config, meta)
        if config.synonyms.source != "off":
            special, targets = len(SPECIAL) + len(config.reserved), prepared.targets(folder, "train")
            found = word_synonyms.find(words, special, texts, targets, vectors, config.synonyms)
            np.save(out / "synonyms.npy", found.pairs)
            meta["synonyms"] = found.counts
    artifacts.write_json(out / "meta.json", meta)
    return {"vocabulary": len(words), **sizes}


def _vectors(texts: Texts, words: list[str], out: Path, config: Config, meta: dict[str, Any]) -> np.ndarray | None:
    """Writes vectors.npy where asked for and tells of it in `meta`; rows of words that have none of their own are 0
    in what is returned.
    """
    asked = config.vectors
    if asked.file:
        counts, special = word_vectors.token_counts(texts, len(words)), len(SPECIAL) + len(config.reserved)
        given = pretrained.read(Path(asked.file), words, special, counts, asked.seed, asked.dimension)
        np.save(out / "vectors.npy", given.vectors)
        meta["vectors"] = given.about
        log.info("%s", told(given.about))
        return np.where(given.covered[:, None], given.vectors, np.float32(0))
    if not asked.dimension:
        return None
    learnt = word_vectors.learn(texts, words, terms.UNKNOWN, asked)
    np.save(out / "vectors.npy", learnt.vectors)
    meta["vector_losses"] = learnt.losses
    return learnt.vectors


def told(about: Mapping[str, Any]) -> str:
    """How much of the vocabulary a user's vectors cover, in a sentence."""
    words = f"{about['file']}: {about['dimension']} values a word, which cover {about['types']:.1%} of the vocabulary "
    words += f"and {about['tokens']:.1%} of the train split's tokens; the others start from random draws"
    return words + (f"; {about['bad_lines']:,} bad lines: {'; '.join(about['bad'])}" if about["bad_lines"] else "")


def _write_terms(folder: Path, out: Path, config: Config) -> dict[str, int]:
    fitted = list(_chosen(folder, "train", config.documents))
    limits = {"minimum": config.minimum_documents, "maximum": config.maximum_terms}
    word, of_word = bag.fit(fitted, bag.Words(), out, high=config.words, **limits)
    character, of_character = bag.fit(fitted, bag.Characters(), out, high=config.characters, **limits)
    count = sum(int(shard.rows.sum()) for shard in fitted)
    frequency = np.concatenate([of_word, of_character])
    plain = config.weighting == "counts"
    idf = np.ones(len(frequency)) if plain else np.log((1 + count) / (1 + frequency)) + 1
    record = {
        "word": word,
        "character": character,
        "idf": idf.tolist(),
        "word_range": [1, config.words],
        "character_range": [1, config.characters],
        "sublinear": config.counting == "sublinear",
        "norm": not plain,
    }
    artifacts.write_json(out / "tfidf.json", record)
    return {"word_terms": len(word), "character_terms": len(character), "fitted_texts": count}


def _chosen(folder: Path, split: str, limit: int | None) -> Iterator[bag.Shard]:
    """The split's shards, of which at most `limit` texts count, evenly spread."""
    stems = prepared.shards(folder, split)
    offsets = [np.load(f"{stem}.offsets.npy", allow_pickle=False) for stem in stems]
    rows = of_fit(sum(len(of) - 1 for of in offsets), limit)
    start = 0
    for stem, of in zip(stems, offsets):
        yield bag.Shard(stem, rows[start : start + len(of) - 1])
        start += len(of) - 1


def of_fit(count: int, limit: int | None) -> np.ndarray:
    """Which of `count` texts are used where at most `limit` are, bool [count]."""
    rows = np.ones(count, bool)
    if limit is not None and count > limit:
        rows[:] = False
        rows[np.linspace(0, count - 1, limit).round().astype(np.int64)] = True
    return rows


def weights(folder: Path, features: Path, splits: Iterable[str] = artifacts.SPLITS) -> dict[str, "csr_matrix"]:
    """TF-IDF float32 [N, terms] of each split's texts that count (see `counting`)."""
    from scipy.sparse import csr_matrix, vstack

    found = bag.Bag(artifacts.read_json(features / "tfidf.json"))
    none = csr_matrix((0, found.width), dtype=np.float32)
    limits = {split: _limit(features, split) for split in splits}
    return {
        split: vstack([none, *map(found.weights, _chosen(folder, split, limit))], "csr")
        for split, limit in limits.items()
    }


def counting(features: Path, split: str, count: int) -> np.ndarray:
    """Which of a split's `count` texts have weights, bool [count]: of train those that terms are fitted on."""
    return of_fit(count, _limit(features, split))


def _limit(features: Path, split: str) -> int | None:
    return int(artifacts.read_json(features / "meta.json")["documents"]) if split == "train" else None


def inputs(folder: Path, features: Path) -> TextInputs:
    """What the network reads."""
    meta = artifacts.read_json(features / "meta.json")
    return TextInputs(meta["vocabulary"], meta["length"])


def load(folder: Path, features: Path, split: str) -> Split:
    """One split, its tokens memory-mapped."""
    words = artifacts.read_json(features / "vocabulary.json")
    return Split(
        labels=prepared.labels(folder, split),
        targets=prepared.targets(folder, split),
        texts=Texts.open(prepared.shards(folder, split), words, terms.UNKNOWN),
    )
