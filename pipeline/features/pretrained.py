"""A user's word vectors in word2vec's text format: of each line a word and its values, kept for the vocabulary alone.

V words of the vocabulary, D values of a vector.
"""

import bz2
import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.errors import ConfigError, DataError

FOLDER = Path("vectors")  # where dvc.yaml looks for the user's file
NAMED = 5  # bad lines that the log and meta.json name
OPENERS: Mapping[str, Callable[..., IO[bytes]]] = {".gz": gzip.open, ".bz2": bz2.open}  # type: ignore[dict-item]
LONGEST = 1 << 20  # bytes of a line


@dataclass(frozen=True)
class Pretrained:
    vectors: np.ndarray  # float32 [V, D], row 0, of padding, is 0
    about: dict[str, Any]  # lines, bad ones and the share of the vocabulary that is covered, as meta.json has it
    covered: np.ndarray  # bool [V]


def read(path: Path, words: Sequence[str], special: int, counts: np.ndarray, seed: int, asked: int = 0) -> Pretrained:
    """The vocabulary's vectors; a word without one gets a draw with the mean and the variance of those found.

    special: so many words of the vocabulary, at its start, are no words. counts: int [V], of train's tokens.
    asked: the dimension that params.yaml gives, if it does. Bad lines are passed over and named in `about`.
    Raises: DataError for a file without a vector of the vocabulary, or with fewer lines than its first one says.
    """
    index = {word.encode("utf-8", "surrogatepass"): k for k, word in enumerate(words) if k >= special}
    bad: list[str] = []
    lines = wrong = dimension = 0
    announced: int | None = None
    vectors = np.zeros((0, 0), np.float32)
    covered = np.zeros(len(words), bool)
    for number, line in _lines(path):
        if number == 1 and (header := _header(line)):
            announced, dimension = header
            continue
        lines += 1
        dimension = dimension or line.count(b" ")
        if not len(vectors):
            _check_dimension(path, dimension, asked)
            vectors = np.zeros((len(words), dimension), np.float32)
        row, fault = _row(line, dimension, index, vectors, covered)
        if fault:
            wrong += 1
            bad += [f"line {number}: {fault}"] if len(bad) < NAMED else []
        elif row is not None:
            covered[row] = True
    _check(path, lines, announced, wrong, bad, covered)
    missing = ~covered
    missing[0] = False
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((int(missing.sum()), dimension), np.float32)
    known = vectors[covered]
    vectors[missing] = known.mean(axis=0) + drawn * known.std(axis=0)
    about = {"file": str(path), "lines": lines, "dimension": dimension, "bad_lines": wrong, "bad": bad}
    about["types"] = round(float(covered[special:].mean()), 6)
    about["tokens"] = round(float(counts[covered].sum() / max(1, counts.sum())), 6)
    return Pretrained(vectors, about, covered)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                yield number, line.rstrip(b" \t\r\n")
    except (OSError, EOFError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{path}: {found}; expected word vectors in word2vec's text format, plain, .gz or .bz2; correct the path"
        ) from None


def _header(line: bytes) -> tuple[int, int] | None:
    """Lines and values of a line, where the first line says them."""
    parts = line.split()
    if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]) > 0:
        return int(parts[0]), int(parts[1])
    return None


def _row(
    line: bytes, dimension: int, index: Mapping[bytes, int], vectors: np.ndarray, covered: np.ndarray
) -> tuple[int | None, str]:
    """The vocabulary's row that the line filled, if any, and what is wrong with the line, if anything."""
    if line.count(b" ") < dimension:
        return None, f"{line.count(b' ')} values where there are {dimension}"
    word, *values = line.rsplit(b" ", dimension)
    if b" " in word and _number(word.rpartition(b" ")[2]):  # of a word, a blank may be a part
        return None, f"{line.count(b' ')} values where there are {dimension}"
    row = index.get(word)
    if row is None:
        return None, "" if word else "no word"
    if covered[row]:
        return None, f"{word.decode('utf-8', 'replace')} once more"
    try:
        found = np.array([float(value) for value in values], np.float32)
    except ValueError:
        return None, "a value that is no number"
    if not np.isfinite(found).all():
        return None, "a value that is not finite"
    vectors[row] = found
    return row, ""


def _number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _check_dimension(path: Path, found: int, asked: int) -> None:
    if not found:
        raise DataError(f"{path}: found a first line without values; expected `word 0.1 0.2 …`; give another file")
    if asked and asked != found:
        raise ConfigError(
            f"features.vectors.dimension: found {asked}, where {path} has {found} values a word; expected the same; "
            "leave dimension out"
        )


def _check(path: Path, lines: int, announced: int | None, wrong: int, bad: Sequence[str], covered: np.ndarray) -> None:
    if announced is not None and lines < announced:
        raise DataError(
            f"{path}: found {lines:,} vectors; expected the {announced:,} of its first line; bring the whole file, or "
            "delete that line where you cut it yourself"
        )
    if not covered.any():
        why = f" ({wrong:,} bad lines, {'; '.join(bad)})" if wrong else ""
        raise DataError(
            f"{path}: found no word of the vocabulary among {lines:,} lines{why}; expected word2vec's text format, in "
            "UTF-8 and of the same language, cut as prepare.tokeniser cuts; give another file"
        )
