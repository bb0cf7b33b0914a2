"""N-grams of many texts at once, on arrays, size by size; features/terms.py does the same for one text.

Texts are flat integer codes (of tokens or of characters) and offsets: text i is codes[offsets[i]:offsets[i + 1]]; a
code of -1 is in no n-gram. An n-gram's key is the number of the n-gram that its first codes are, times `span`, plus
its last code; its number is its key's place among the known keys of its size, which ascend. Single codes are their
own numbers. P places, G n-grams of one size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass
class Block:
    """Some whole texts, and which known n-gram of `size` codes starts at each place."""

    codes: np.ndarray  # int [P]
    texts: np.ndarray  # int64 [P], which text holds the place
    ends: np.ndarray  # int64 [P], where that text ends
    numbers: np.ndarray  # int [P], -1 where no known n-gram starts; changed in place
    size: int = 1

    @classmethod
    def of(cls, codes: np.ndarray, offsets: np.ndarray, numbers: np.ndarray | None = None, size: int = 1) -> "Block":
        """`numbers`, where they are known for `size`; of size 1 they are the codes."""
        lengths = np.diff(offsets)
        texts = np.repeat(np.arange(len(lengths)), lengths)
        return cls(codes, texts, np.repeat(offsets[1:], lengths), codes.copy() if numbers is None else numbers, size)

    def longer(self, span: int) -> tuple[np.ndarray, np.ndarray]:
        """Where a known n-gram is followed by a code of the same text, and the keys of those longer n-grams."""
        places = np.flatnonzero(self.numbers >= 0)
        places = places[places + self.size < self.ends[places]]
        last = self.codes[places + self.size]
        places, last = places[last >= 0], last[last >= 0]
        return places, self.numbers[places].astype(np.int64) * span + last

    def grow(self, span: int, keys: np.ndarray) -> None:
        """From the n-grams of `size` to those of the next size, of which `keys` are known."""
        places, wanted = self.longer(span)
        self.numbers[:] = -1
        if len(keys):
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            hit = keys[at] == wanted
            self.numbers[places[hit]] = at[hit]
        self.size += 1


def frequency(keys: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, ascending, and in how many texts each stands, int64; keys and texts are [P]."""
    distinct, numbers = np.unique(keys, return_inverse=True)
    count = int(texts.max(initial=0)) + 1
    pairs = np.sort(numbers * np.int64(count) + texts)
    first = np.flatnonzero(np.diff(pairs, prepend=-1))
    return distinct.astype(np.int64), np.bincount(pairs[first] // count, minlength=len(distinct))


def blocks(offsets: np.ndarray, codes: int) -> Iterator[tuple[int, int]]:
    """From which text to which, so that about `codes` codes lie together, but at least one text."""
    start, count = 0, len(offsets) - 1
    while start < count:
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + codes, side="right")) - 1)
        yield start, end
        start = end
