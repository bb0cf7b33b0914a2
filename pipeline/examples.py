"""What flows between the stages: one example as a source gives it, and one split as training reads it.

N examples, H height, W width, C channels in pixels, O outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from pipeline.targets import Kind

if TYPE_CHECKING:
    from pipeline.store import Ragged, Store

SplitName = Literal["train", "validation", "test"]
EMPTY_CLASS = "class without an example"
"""`refused` of the row that stands for a class which the source names and holds nothing of."""


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a source, or with `refused` the reason why the source could not give it.

    `id` is unique within a task: the file's path relative to the source, for a line of a file `path:line`.
    `content` is the file to copy or the bytes of one (image), or the undecoded bytes (text); None if refused, but for
    a class without an example, where it may be the class's folder.
    """

    id: str
    content: Path | bytes | None = None
    label: str | None = None
    group: str | None = None
    split: SplitName | None = None
    probabilities: Mapping[str, float] | None = None
    refused: str | None = None
    path: str = ""  # of the file that holds it, relative to the source; empty where the id is that path
    text: str | None = None  # decoded, what could not be decoded replaced by U+FFFD
    encoding_ok: bool = True


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """What an image network reads: uint8 [B, H, W, C], of which it subtracts `mean` and divides by `std`.

    `mean` and `std` are [C], of pixels in 0..1.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TextInputs:
    """What a text network reads: int64 [B, T ≤ length] of ids below `vocabulary`, 0 = padding, 1 = unknown."""

    vocabulary: int  # entries, padding and unknown included
    length: int  # tokens, at most


@dataclass(frozen=True)
class Vocabulary:
    """The V tokens that a text network reads, as strings, and how often they stand in the train split."""

    words: Sequence[str]  # by their ids; the first two are padding and unknown
    documents: np.ndarray  # int64 [V], texts that hold each of them
    texts: int  # that there are


class TokenIds(Protocol):
    """The ids of N texts, as pipeline/texts.py has them."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int32 [N]."""

    def padded(self, rows: np.ndarray, length: int) -> np.ndarray:
        """int64 [B, T], T the longest of the rows but at most `length`, at least 1; filled with 0."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split in memory or memory-mapped: images, or texts."""

    labels: np.ndarray  # int64 [N]; zeros where an example is not of one class
    targets: np.ndarray  # float32 [N, O]; of classes rows sum to 1
    images: "np.ndarray | Store | Ragged | None" = None  # uint8 [N, H, W, C], or each of its own size
    texts: TokenIds | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def truth(self, kind: Kind) -> np.ndarray:
        """What answers are measured against: int64 [N] of classes, else float32 [N, O]."""
        return np.asarray(self.labels) if kind == "classes" else self.targets
