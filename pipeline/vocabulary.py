"""Counts in how many texts of the train split each token that a network reads stands.

V entries of the vocabulary, T tokens of the longest text of a batch.
"""

from collections.abc import Sequence

import numpy as np

from pipeline import batches
from pipeline.examples import Split, TextInputs, Vocabulary

AT_ONCE = 1024  # texts whose tokens are counted at once


def of(words: Sequence[str], train: Split, inputs: TextInputs) -> Vocabulary:
    """Counts what the network reads of each text; padding stands in none."""
    documents = np.zeros(len(words), np.int64)
    for rows in batches.by_length(train, inputs, AT_ONCE):
        ids = np.sort(batches.read(train, rows, inputs), axis=1)
        first = np.diff(ids, axis=1, prepend=-1) != 0  # of equal ones
        documents += np.bincount(ids[first], minlength=len(words))
    documents[0] = 0
    return Vocabulary(words, documents, len(train))
