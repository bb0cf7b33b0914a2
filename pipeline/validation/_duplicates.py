"""Which rows hold the same content: of these one is kept, or none where their labels disagree."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline import arrivals

if TYPE_CHECKING:
    import pandas as pd

SPLIT_RANK = {"test": 0, "validation": 1}


def compared(table: "pd.DataFrame", sound: "pd.Series[bool]", same: str, known: np.ndarray) -> "pd.DataFrame":
    """With `duplicate_of`, the id of the kept row of equal content, and `conflicting`: equal content, other label.

    same: the column in which equal contents are equal; sound: the rows that are compared; known: the keys of what was
    accepted before, uint64. Of duplicates the first is kept, one in the user's own test split before others, so that
    no test row is lost to a training row, and then one that is known, so that a new copy does not take the place of an
    old example and bring it to another split. Rows whose bytes, or cleaned texts, are equal have one key and so one
    place in the split: which of them came first is not known, and the first in the manifest is kept.
    """
    import pandas as pd

    compared = table[sound]
    new = ~np.isin(arrivals.keys(compared["content"]), known)
    rank = compared["split"].map(SPLIT_RANK).fillna(2)
    ranked = compared.assign(rank=rank, new=new).sort_values(["rank", "new"], kind="stable")
    groups = ranked.groupby(same, sort=False)
    first = groups["id"].transform("first").reindex(table.index)
    conflicting = groups["label"].transform("nunique").reindex(table.index, fill_value=1) > 1
    repeated = first.notna() & (first != table["id"]) & ~conflicting
    note = pd.Series("the same content as " + first + ", which has another label", index=table.index)
    note = note.mask(first == table["id"], "the same content has another label elsewhere")
    detail = table["detail"].fillna(("same as " + first).where(repeated)).fillna(note.where(conflicting))
    return table.assign(duplicate_of=first.where(repeated), conflicting=conflicting, detail=detail)
