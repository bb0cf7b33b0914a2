"""What a text model's file may be told of the train split before training, by its `words`.

V entries of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that the network reads, as strings, and in how many texts of the train split each of them stands."""

    words: Sequence[str]  # V of them, by their ids; the first two are padding and unknown
    documents: np.ndarray  # int64 [V], texts that hold each of them
    texts: int  # that there are
