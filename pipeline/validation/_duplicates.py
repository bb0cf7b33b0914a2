"""Which rows hold the same content: of these one is kept, or none where their labels disagree."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SPLIT_RANK = {"test": 0, "validation": 1}


def compared(table: "pd.DataFrame", sound: "pd.Series[bool]", same: str) -> "pd.DataFrame":
    """With `duplicate_of`, the id of the kept row of equal content, and `conflicting`: equal content, other label.

    same: the column in which equal contents are equal; sound: the rows that are compared. Of duplicates the first is
    kept, one in the user's own test split before others, so that no test row is lost to a training row.
    """
    import pandas as pd

    ranked = table[sound].assign(rank=table["split"].map(SPLIT_RANK).fillna(2)).sort_values("rank", kind="stable")
    groups = ranked.groupby(same, sort=False)
    first = groups["id"].transform("first").reindex(table.index)
    conflicting = groups["label"].transform("nunique").reindex(table.index, fill_value=1) > 1
    repeated = first.notna() & (first != table["id"]) & ~conflicting
    note = pd.Series("the same content as " + first + ", which has another label", index=table.index)
    note = note.mask(first == table["id"], "the same content has another label elsewhere")
    detail = table["detail"].fillna(("same as " + first).where(repeated)).fillna(note.where(conflicting))
    return table.assign(duplicate_of=first.where(repeated), conflicting=conflicting, detail=detail)
