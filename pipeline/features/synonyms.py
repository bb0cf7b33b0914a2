"""Synonyms for augmentation: of the user's dictionary, or neighbours among the task's word vectors.

A word is left alone, and never put in, where it negates or where the train split says that it carries the label: a
synonym that turns 不错 into 不利 is a wrong label. V words of the vocabulary, N texts, O outputs, P pairs.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline import config
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.features import markers
from pipeline.texts import Texts

FOLDER = Path("dictionaries")  # where dvc.yaml looks for the user's file
CILIN = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d[=#@]")
AT_ONCE = 512  # words whose neighbours are looked for at once


@dataclass(frozen=True)
class Config:
    source: Literal["off", "dictionary", "vectors"] = "off"
    file: str | None = None  # dictionary: a file in dictionaries/, in Cilin's form or word<TAB>synonym
    neighbours: int = setting(3, low=1, high=50, unit="vectors: nearest words of a word, at most; each of the other")
    similarity: float = setting(0.8, low=0, high=1, unit="vectors: least cosine of two neighbours")
    minimum_count: int = setting(20, low=1, high=1_000_000, unit="vectors: train texts that hold a word, at least")
    label: float = setting(3.84, above=0, high=10_000, unit="chi-square with an output that makes a word its sign")
    protected: tuple[str, ...] = ()  # more words that are left alone

    def __post_init__(self) -> None:
        config.check_place("file", self.file, FOLDER)
        if (self.source == "dictionary") != (self.file is not None):
            raise ValueError(f"file: found {self.file!r} with source {self.source}; expected a file with dictionary")


@dataclass(frozen=True)
class Found:
    pairs: np.ndarray  # int32 [P, 2]: a word and a synonym of it, by rising word
    counts: dict[str, int]


def find(
    words: Sequence[str], special: int, texts: Texts, targets: np.ndarray, vectors: np.ndarray | None, config: Config
) -> Found:
    """Pairs of the vocabulary's words, the first `special` of which are none.

    targets: float [N, O] of the train split's texts; vectors: float32 [V, D], a row of 0 where a word has none.
    Raises: DataError for a dictionary that cannot be read.
    """
    negating = np.array([markers.negates(word) for word in words])
    held, surely = chi_square(texts, targets, len(words))
    carrying = surely >= config.label
    free = ~negating & ~carrying & ~np.isin(np.array(words, object), np.array(config.protected, object))
    free[:special] = False
    if config.source == "dictionary":
        pairs = set(_of_dictionary(Path(str(config.file)), words, free))
    else:
        assert vectors is not None
        free &= np.array([markers.bare(word).isalpha() for word in words]) & (held >= config.minimum_count)
        pairs = _of_vectors(vectors, free, config)
    found = np.array(sorted(pairs), np.int32).reshape(-1, 2)
    counts = {"words": len(np.unique(found[:, 0])), "pairs": len(found)}
    return Found(found, counts | {"negating": int(negating.sum()), "carrying_the_label": int(carrying.sum())})


def chi_square(texts: Texts, targets: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """How many texts hold a word, and how surely its presence and an output go together, both [V].

    The latter is the most over all outputs of N times the squared correlation: Pearson's statistic of the 2 × 2 table,
    where a target is 0 or 1.
    """
    from scipy.sparse import csr_matrix

    count = len(texts)
    held, sums = np.zeros(words), np.zeros((words, targets.shape[1]))
    start = 0
    for ids, offsets in texts.shards():
        size = len(offsets) - 1
        rows = np.repeat(np.arange(size), np.diff(offsets))
        there = np.unique(rows * words + ids.astype(np.int64))
        presence = csr_matrix((np.ones(len(there)), (there % words, there // words)), (words, size))
        held += np.bincount(there % words, minlength=words)
        sums += presence @ targets[start : start + size].astype(np.float64)
        start += size
    mean = targets.mean(axis=0, dtype=np.float64)
    spread = ((targets - mean) ** 2).sum(axis=0)
    below = np.outer(held * (1 - held / max(count, 1)), spread)
    above = (sums - np.outer(held, mean)) ** 2
    found: np.ndarray = np.divide(count * above, below, out=np.zeros_like(above), where=below > 1e-9).max(axis=1)
    return held, found


def _of_dictionary(path: Path, words: Sequence[str], free: np.ndarray) -> Iterator[tuple[int, int]]:
    index = {word: k for k, word in enumerate(words) if free[k]}
    for word, synonyms in read(path).items():
        if word in index:
            yield from ((index[word], index[other]) for other in synonyms if other in index)


def read(path: Path) -> dict[str, list[str]]:
    """A dictionary's synonyms by word: in Cilin's form those of words of a single sense, else as its two columns say.

    Raises: DataError for a line of neither form.
    """
    lines = list(_lines(path))
    if lines and CILIN.match(lines[0][1]):
        return _cilin(_groups(path, lines))
    found: dict[str, list[str]] = {}
    for number, line in lines:
        word, *others = (part.strip() for part in line.split("\t"))
        if len(others) != 1 or not word or not others[0]:
            raise DataError(
                f"{path}: line {number} is {line[:60]!r}; expected word<TAB>synonym, or lines such as "
                "`Aa01A01= 人 士` throughout; correct the line"
            )
        if others[0] != word and others[0] not in found.setdefault(word, []):
            found[word].append(others[0])
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The number and the text of each line that is not blank."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a dictionary of synonyms; correct its path") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8; expected UTF-8; convert it: iconv -f gb18030 -t utf-8"
        ) from None
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _groups(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[str, list[str]]]:
    """Each group's sign (= equal, # related, @ alone) and words."""
    for number, line in lines:
        code, *words = line.split()
        if not CILIN.fullmatch(code) or not words:
            raise DataError(
                f"{path}: line {number} is {line[:60]!r}; expected a group such as `Aa01A01= 人 士`; correct the line"
            )
        yield code[-1], list(dict.fromkeys(words))


def _cilin(groups: Iterable[tuple[str, list[str]]]) -> dict[str, list[str]]:
    every = list(groups)
    senses = Counter(word for _, words in every for word in words)
    found: dict[str, list[str]] = {}
    for sign, words in every:
        single = [word for word in words if senses[word] == 1]
        if sign == "=" and len(single) > 1:
            found |= {word: [other for other in single if other != word] for word in single}
    return found


def _of_vectors(vectors: np.ndarray, free: np.ndarray, config: Config) -> set[tuple[int, int]]:
    """Free words of which each is among the other's nearest, by the cosine once the mean of all is taken off.

    What all vectors share says nothing of a word, after Mu and Viswanath, arXiv 1702.01417.
    """
    rows = np.flatnonzero(free & vectors.any(axis=1))
    most = min(config.neighbours, len(rows) - 1)
    if most < 1:
        return set()
    unit = vectors[rows] - vectors[rows].mean(axis=0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    found = set()
    for start in range(0, len(rows), AT_ONCE):
        cosines = unit[start : start + AT_ONCE] @ unit.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -1
        best = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        for k, others in enumerate(best):
            near = others[cosines[k, others] >= config.similarity]
            found |= {(int(rows[start + k]), int(rows[other])) for other in near}
    return {(word, other) for word, other in found if (other, word) in found}
