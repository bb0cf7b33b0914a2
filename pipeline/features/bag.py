"""Bags of n-grams of words and of characters: which terms the train split has, and their weights in any text.

Memory does not grow with the texts: they are read shard by shard, and what is counted lies on disk where it is much.
The weights are computed when they are read: stored, they would be several times the texts, and all new with new data.
n texts of a shard, D texts that terms are fitted on, G n-grams of one size.
"""

import heapq
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline import artifacts, texts
from pipeline.errors import DataError
from pipeline.features import ngrams, terms
from pipeline.features.sums import Keys, Strings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

AT_ONCE = 1 << 18
"""Codes whose n-grams are counted at once, some 100 bytes each."""
Block = tuple[np.ndarray, np.ndarray]  # codes, flat, and offsets of their texts


class Family(Protocol):
    """Words or characters: what a shard's n-grams are runs of."""

    joiner: str

    def singles(self, stem: Path, rows: np.ndarray) -> Iterator[tuple[list[str], np.ndarray]]:
        """Single tokens or characters, and how many of the rows (bool [n]) hold each."""

    def blocks(self, stem: Path, rows: np.ndarray, alphabet: Mapping[str, int]) -> Iterator[Block]:
        """The codes of the rows, -1 for what `alphabet` lacks."""


class Words:
    joiner = " "

    def singles(self, stem: Path, rows: np.ndarray) -> Iterator[tuple[list[str], np.ndarray]]:
        cut = texts.Cut.read(stem).of_rows(rows)
        for codes, offsets in _blocks(cut.codes, cut.offsets):
            keys, counts = ngrams.frequency(codes, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
            yield [cut.types[key] for key in keys.tolist()], counts

    def blocks(self, stem: Path, rows: np.ndarray, alphabet: Mapping[str, int]) -> Iterator[Block]:
        cut = texts.Cut.read(stem).of_rows(rows)
        lookup = np.array([alphabet.get(word, -1) for word in cut.types], np.int32)
        for codes, offsets in _blocks(cut.codes, cut.offsets):
            yield lookup[codes], offsets


class Characters:
    joiner = ""

    def __init__(self) -> None:
        self._alphabet: Mapping[str, int] = {}
        self._lookup = np.zeros(0, np.int32)

    def singles(self, stem: Path, rows: np.ndarray) -> Iterator[tuple[list[str], np.ndarray]]:
        for points, offsets in self._points(stem, rows):
            keys, counts = ngrams.frequency(points, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
            yield list(map(chr, keys.tolist())), counts

    def blocks(self, stem: Path, rows: np.ndarray, alphabet: Mapping[str, int]) -> Iterator[Block]:
        if alphabet is not self._alphabet:
            self._alphabet, self._lookup = alphabet, np.full(0x110000, -1, np.int32)
            self._lookup[[ord(character) for character in alphabet]] = list(alphabet.values())
        for points, offsets in self._points(stem, rows):
            yield self._lookup[points], offsets

    def _points(self, stem: Path, rows: np.ndarray) -> Iterator[Block]:
        start = 0
        for found in texts.cleaned(stem):
            chosen = [terms.fold(text) for text, row in zip(found, rows[start : start + len(found)]) if row]
            start += len(found)
            offsets = np.cumsum([0, *map(len, chosen)])
            for first, last in ngrams.blocks(offsets, AT_ONCE):
                flat = "".join(chosen[first:last]).encode("utf-32-le", "surrogatepass")
                yield np.frombuffer(flat, np.uint32), offsets[first : last + 1] - offsets[first]


def _blocks(codes: np.ndarray, offsets: np.ndarray) -> Iterator[Block]:
    for first, last in ngrams.blocks(offsets, AT_ONCE):
        yield codes[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first]


@dataclass(frozen=True)
class Shard:
    stem: Path
    rows: np.ndarray  # bool [n], which texts count


def fit(
    shards: Sequence[Shard], family: Family, scratch: Path, *, high: int, minimum: int, maximum: int
) -> tuple[list[str], np.ndarray]:
    """The terms of 1 to `high` codes that at least `minimum` texts hold, sorted, and how many hold each, int64.

    If there are more than `maximum`, those that most texts hold; of equal ones those that come first in order.
    scratch: a folder on a disk.
    """
    with TemporaryDirectory(dir=scratch) as folder:
        return _Fit(shards, family, minimum, maximum, Path(folder)).run(high)


class _Fit:
    """An n-gram stands in no more texts than its parts do: of each size only what can still win is counted further."""

    def __init__(self, shards: Sequence[Shard], family: Family, minimum: int, maximum: int, folder: Path) -> None:
        self._shards, self._family, self._folder = shards, family, folder
        self._floor, self._maximum = minimum, maximum
        self._found: list[
            tuple[np.ndarray, np.ndarray]
        ] = []  # of each size: codes int32 [G, size], frequency int64 [G]

    def run(self, high: int) -> tuple[list[str], np.ndarray]:
        names = self._singles()
        codes, offsets = self._encoded({name: k for k, name in enumerate(names)})
        numbers = artifacts.mapped(self._folder / "numbers.npy", np.int32, codes.shape)
        numbers[:] = codes
        span, keys = len(names), np.zeros(0, np.int64)
        for size in range(2, high + 1):
            sums = Keys(self._folder)
            for first, last in ngrams.blocks(offsets, AT_ONCE):
                start, end = offsets[first], offsets[last]
                of = offsets[first : last + 1] - start
                block = ngrams.Block.of(codes[start:end], of, numbers[start:end], max(1, size - 2))
                if size > 2:
                    block.grow(span, keys)
                places, wanted = block.longer(span)
                sums.add(*ngrams.frequency(wanted, block.texts[places]))
            keys = self._keep(sums, span)
        return self._chosen(names)

    def _singles(self) -> list[str]:
        sums = Strings(self._folder)
        for shard in self._shards:
            for names, counts in self._family.singles(shard.stem, shard.rows):
                sums.add(names, counts)
        self._raise(np.array(array("q", (count for _, count in sums.items(self._floor))), np.int64))
        kept = list(sums.items(self._floor))
        codes = np.arange(len(kept), dtype=np.int32)[:, None]
        self._found.append((codes, np.array([count for _, count in kept], np.int64)))
        return [name for name, _ in kept]

    def _encoded(self, alphabet: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """All codes in one memory-mapped file, and the offsets of their texts."""
        lengths = [np.zeros(1, np.int64)]
        path = self._folder / "codes.bin"
        with path.open("wb") as file:
            for shard in self._shards:
                for codes, offsets in self._family.blocks(shard.stem, shard.rows, alphabet):
                    file.write(codes.astype(np.int32).tobytes())
                    lengths.append(np.diff(offsets))
        total = np.cumsum(np.concatenate(lengths))
        return (np.memmap(path, np.int32, "r") if total[-1] else np.zeros(0, np.int32)), total

    def _keep(self, sums: Keys, span: int) -> np.ndarray:
        """The keys of the next size that can still win."""
        above = [counts[counts >= self._floor] for _, counts in sums.items()]
        self._raise(np.concatenate(above))
        kept = [(keys[counts >= self._floor], counts[counts >= self._floor]) for keys, counts in sums.items()]
        keys, counts = (np.concatenate([pair[k] for pair in kept]) for k in range(2))
        shorter = self._found[-1][0][keys // span]
        self._found.append((np.hstack([shorter, (keys % span).astype(np.int32)[:, None]]), counts))
        return keys

    def _raise(self, counts: np.ndarray) -> None:
        """The floor to what the last winner has, were there no longer n-grams."""
        total = np.concatenate([counts, *(found for _, found in self._found)])
        if len(total) > self._maximum:
            self._floor = max(self._floor, int(np.partition(total, -self._maximum)[-self._maximum]))

    def _chosen(self, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
        best = dict(self._spelt(names, lambda counts: counts > self._floor))
        last = self._spelt(names, lambda counts: counts == self._floor)
        best |= heapq.nsmallest(max(0, self._maximum - len(best)), last)
        ordered = sorted(best)
        return ordered, np.array([best[name] for name in ordered], np.int64)

    def _spelt(self, names: Sequence[str], which: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple[str, int]]:
        joiner = self._family.joiner
        for codes, counts in self._found:
            chosen = which(counts)
            for row, count in zip(codes[chosen].tolist(), counts[chosen].tolist()):
                yield joiner.join([names[code] for code in row]), count


class Known:
    """The terms of one family and the column of each, ready to be found in shards."""

    def __init__(self, family: Family, names: Sequence[str]) -> None:
        """`names` are sorted; each one's place is its column. Raises: DataError where a term's beginning is no term."""
        self._family, self.width = family, len(names)
        if family.joiner:
            flat = family.joiner.join(names).split(family.joiner) if names else []
            lengths = np.array([name.count(family.joiner) + 1 for name in names], np.int64)
        else:
            flat, lengths = list("".join(names)), np.array(list(map(len, names)), np.int64)
        self._alphabet = {single: k for k, single in enumerate(sorted(set(flat)))}
        self._span = len(self._alphabet)
        codes = np.array([self._alphabet[single] for single in flat], np.int64)
        first = np.cumsum(lengths) - lengths
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []  # of each size: keys, and the column of each
        for size in range(1, int(lengths.max(initial=0)) + 1):
            columns = np.flatnonzero(lengths == size)
            self._add(codes[first[columns][:, None] + np.arange(size)], columns)

    def _add(self, codes: np.ndarray, columns: np.ndarray) -> None:
        """The terms of one size, int64 [G, size]."""
        if not self._levels:
            of = np.full(self._span, -1, np.int64)
            of[codes[:, 0]] = columns
            self._levels.append((np.arange(self._span), of))
            return
        numbers = codes[:, 0]
        for size, (keys, _) in enumerate(self._levels[1:], 1):
            wanted = numbers * self._span + codes[:, size]
            numbers = np.searchsorted(keys, wanted)
            if (numbers == len(keys)).any() or (keys[numbers] != wanted).any():
                raise DataError("the terms lack one that another begins with; expected those of stage featurize")
        keys = numbers * self._span + codes[:, -1]
        order = np.argsort(keys)
        self._levels.append((keys[order], columns[order]))

    def counts(self, shard: Shard) -> "csr_matrix":
        """Float32 [rows that count, terms]: how often each term stands in each text."""
        from scipy.sparse import csr_matrix, vstack

        found = [csr_matrix((0, self.width), dtype=np.float32)]
        for codes, offsets in self._family.blocks(shard.stem, shard.rows, self._alphabet):
            block = ngrams.Block.of(codes, offsets)
            rows: list[np.ndarray] = []
            columns: list[np.ndarray] = []
            for keys, of in self._levels:
                if rows:
                    block.grow(self._span, keys)
                places = np.flatnonzero(block.numbers >= 0)
                column = of[block.numbers[places]]
                rows.append(block.texts[places[column >= 0]])
                columns.append(column[column >= 0])
            flat = np.concatenate([np.zeros(0, np.int64), *rows]), np.concatenate([np.zeros(0, np.int64), *columns])
            ones = np.ones(len(flat[0]), np.float32)
            found.append(csr_matrix((ones, flat), shape=(len(offsets) - 1, self.width)))
        total = vstack(found, "csr")
        total.sum_duplicates()
        return total


class Bag:
    """What features/<task>/tfidf.json holds, for whole shards; `terms.Terms` is the same for one text."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._known = [Known(Words(), record["word"]), Known(Characters(), record["character"])]
        self._idf = np.split(np.asarray(record["idf"], np.float64), [len(record["word"])])
        self._record = record
        self.width = len(record["idf"])

    def counts(self, shard: Shard) -> "csr_matrix":
        """Float32 [n, terms], words first."""
        from scipy.sparse import hstack

        return hstack([known.counts(shard) for known in self._known], "csr")

    def weights(self, shard: Shard) -> "csr_matrix":
        """Float32 [n, terms], words first."""
        from scipy.sparse import hstack

        how = {name: bool(self._record[name]) for name in ("sublinear", "norm")}
        parts = [weigh(known.counts(shard), idf, **how) for known, idf in zip(self._known, self._idf)]
        return hstack(parts, "csr").astype(np.float32)


def weigh(counted: "csr_matrix", idf: np.ndarray, *, sublinear: bool, norm: bool) -> "csr_matrix":
    """TF-IDF of counts, with `norm` each row of Euclidean norm 1; as features/terms.py does for one text."""
    weighted = counted.astype(np.float64)
    if sublinear:
        weighted.data = 1 + np.log(weighted.data)
    weighted.data *= idf[weighted.indices]
    if not norm:
        return weighted
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(weighted.indptr))
    return weighted
