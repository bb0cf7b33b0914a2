"""Texts in shards of token codes, seen as the token ids of one vocabulary: an id is made at the moment it is read.

A shard `<stem>` is four files: `.types.json`, its own distinct tokens, sorted; `.tokens.npy`, the place of each token
of its texts in that list, uint16 or uint32, flat; `.offsets.npy`, where each text's tokens begin, int64 [n + 1]; and
`.texts.parquet`, the cleaned texts. No shard knows the vocabulary, so that new data change no old shard.
N texts, n of a shard, B of a batch, T tokens of the longest text of a batch.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

SUFFIXES = (".texts.parquet", ".tokens.npy", ".offsets.npy", ".types.json")
TEXTS, TOKENS, OFFSETS, TYPES = SUFFIXES
AT_ONCE = 1024  # texts whose tokens are taken over at once
BETWEEN = "\U0010ffff"  # no character at all by Unicode, and one that JSON does not escape


@dataclass(frozen=True)
class Cut:
    """Some texts, cut: text i is codes[offsets[i]:offsets[i + 1]], each a place in `types`."""

    types: list[str]  # sorted
    codes: np.ndarray  # uint16 or uint32, flat
    offsets: np.ndarray  # int64 [n + 1]

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> "Cut":
        import pyarrow as pa
        import pyarrow.compute as pc

        lengths, flat = [np.zeros(1, np.int64)], [pa.array([], pa.string())]
        rows = iter(texts)
        while batch := list(islice(rows, AT_ONCE)):
            lengths.append(np.fromiter(map(len, batch), np.int64, len(batch)))
            flat.append(pa.array(list(chain.from_iterable(batch)), pa.string()))
        met = pa.concat_arrays(flat).dictionary_encode()  # numbered as they are first met
        order = pc.sort_indices(met.dictionary)
        place = np.empty(len(order), np.uint16 if len(order) <= 1 << 16 else np.uint32)
        place[order.to_numpy()] = np.arange(len(order))
        codes = place[met.indices.to_numpy()]
        return cls(met.dictionary.take(order).to_pylist(), codes, np.cumsum(np.concatenate(lengths)))

    @classmethod
    def read(cls, stem: Path) -> "Cut":
        """A shard, its codes memory-mapped."""
        codes = np.load(f"{stem}{TOKENS}", mmap_mode="r", allow_pickle=False)
        return cls(types(stem), codes.view(np.ndarray), np.load(f"{stem}{OFFSETS}", allow_pickle=False))

    def write(self, stem: Path) -> None:
        np.save(f"{stem}{TOKENS}", self.codes)
        np.save(f"{stem}{OFFSETS}", self.offsets)
        Path(f"{stem}{TYPES}").write_bytes(_listed(self.types).encode("utf-8", "surrogatepass"))

    def of_rows(self, rows: np.ndarray) -> "Cut":
        """Some of the texts, as bool [n] says."""
        if rows.all():
            return self
        lengths = np.diff(self.offsets)
        return Cut(self.types, self.codes[np.repeat(rows, lengths)], np.cumsum([0, *lengths[rows].tolist()]))

    def words(self, row: int) -> list[str]:
        """The tokens of one text."""
        return [self.types[code] for code in self.codes[self.offsets[row] : self.offsets[row + 1]].tolist()]


def _listed(words: Sequence[str]) -> str:
    """The words as a JSON list, ten times as fast as one by one: as one string, which is then taken apart."""
    whole = BETWEEN.join(words)
    if not words or whole.count(BETWEEN) >= len(words):
        return json.dumps(list(words), ensure_ascii=False)
    return "[" + json.dumps(whole, ensure_ascii=False).replace(BETWEEN, '", "') + "]"


def types(stem: Path) -> list[str]:
    """A shard's distinct tokens."""
    found: list[str] = json.loads(Path(f"{stem}{TYPES}").read_bytes().decode("utf-8", "surrogatepass"))
    return found


def write(stem: Path, cleaned: Sequence[str], changed: Sequence[int]) -> None:
    """A shard's cleaned texts, and of each the `mask` of the steps of cleaning that changed it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": pa.array(cleaned, pa.string()), "changed": pa.array(changed, pa.uint32())})
    pq.write_table(table, f"{stem}{TEXTS}", compression="zstd")


def read(stem: Path) -> tuple[list[str], list[int]]:
    """What `write` wrote."""
    import pyarrow.parquet as pq

    table = pq.read_table(f"{stem}{TEXTS}", columns=["text", "changed"])
    return table["text"].to_pylist(), table["changed"].to_pylist()


def mask(counts: Sequence[int]) -> int:
    """Bit k is set where step k changed something."""
    return sum(1 << k for k, number in enumerate(counts) if number)


def changes(stem: Path, steps: int) -> np.ndarray:
    """How many of a shard's texts each step changed, int64 [steps]."""
    import pyarrow.parquet as pq

    bits = pq.read_table(f"{stem}{TEXTS}", columns=["changed"])["changed"].to_numpy()
    return np.array([np.count_nonzero(bits & np.uint32(1 << k)) for k in range(steps)], np.int64)


def cleaned(stem: Path) -> Iterator[list[str]]:
    """A shard's cleaned texts, some thousand at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(f"{stem}{TEXTS}") as file:
        for batch in file.iter_batches(4096, columns=["text"]):
            yield batch.column(0).to_pylist()


class Texts:
    """The token ids of N texts: what is held in memory is 8 bytes a text and 2 or 4 a shard's distinct token."""

    def __init__(self, codes: Sequence[np.ndarray], offsets: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> None:
        """For each shard its flat codes, its offsets [n + 1] and the id of each code."""
        self._codes = list(codes)
        self._ids = np.concatenate([np.zeros(0, np.uint16), *ids])
        self._base = np.cumsum([0, *map(len, ids)]).astype(np.int64)  # where each shard's are
        self._first = np.cumsum([0, *(len(of) - 1 for of in offsets)]).astype(np.int64)  # row of each shard
        none = np.zeros(0, np.uint32)
        self._starts = np.concatenate([none, *(of[:-1].astype(np.uint32) for of in offsets)])
        self.lengths = np.concatenate([none, *(np.diff(of).astype(np.uint32) for of in offsets)]).astype(np.int32)

    @classmethod
    def open(cls, stems: Sequence[Path], words: Sequence[str], unknown: int) -> "Texts":
        """Shards as a vocabulary sees them: a token's id is its place in `words`, or `unknown`."""
        index = {word: k for k, word in enumerate(words)}
        small = np.uint16 if len(words) <= 1 << 16 else np.uint32
        codes, offsets, ids = [], [], []
        for stem in stems:
            shard = Cut.read(stem)
            codes.append(shard.codes)
            offsets.append(shard.offsets)
            ids.append(np.fromiter((index.get(word, unknown) for word in shard.types), small, len(shard.types)))
        return cls(codes, offsets, ids)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Texts":
        """Ids that are at hand."""
        flat = np.array([code for row in rows for code in row], np.uint32)
        names = np.arange(int(flat.max(initial=0)) + 1, dtype=np.uint32)
        return cls([flat], [np.cumsum([0, *map(len, rows)])], [names])

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, rows: np.ndarray, length: int) -> np.ndarray:
        """int64 [B, T], T the longest row but at most `length`, at least 1; cut at the end, filled with 0."""
        sizes = np.minimum(self.lengths[rows], length)
        shards = np.searchsorted(self._first, rows, side="right") - 1
        starts = self._starts[rows].astype(np.int64)
        places = zip(shards.tolist(), starts.tolist(), (starts + sizes).tolist())
        none = np.zeros(0, np.uint16)
        codes = np.concatenate([none, *(self._codes[shard][start:end] for shard, start, end in places)])
        out = np.zeros((len(rows), max(1, int(sizes.max(initial=0)))), np.int64)
        out[np.arange(out.shape[1]) < sizes[:, None]] = self._ids[codes + np.repeat(self._base[shards], sizes)]
        return out

    def shards(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each shard's ids, flat, and offsets [n + 1]."""
        for number, codes in enumerate(self._codes):
            lengths = self.lengths[self._first[number] : self._first[number + 1]]
            yield self._ids[self._base[number] : self._base[number + 1]][codes], np.cumsum([0, *lengths.tolist()])
