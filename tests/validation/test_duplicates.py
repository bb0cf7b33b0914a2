"""Which of several equal contents is kept."""

import pandas as pd

from pipeline import arrivals
from pipeline.validation import _duplicates


def test_a_test_row_goes_before_what_is_known_and_that_before_what_is_new() -> None:
    rows = [("new", "1", None), ("old", "2", "train"), ("held", "3", "test"), ("later", "4", "validation")]
    table = pd.DataFrame(rows, columns=["id", "content", "split"]).astype({"split": "str"})
    table = table.assign(content=table["content"] * 64, label="x", same="s", detail=pd.Series(None, dtype="str"))
    known = arrivals.keys(table["content"][1:2])

    def kept(names: list[str]) -> str:
        mine = table[table["id"].isin(names)]
        found = _duplicates.compared(mine, pd.Series(True, index=mine.index), "same", known)
        return str(found.loc[found["duplicate_of"].isna(), "id"].item())

    assert kept(["new", "old", "held", "later"]) == "held"
    assert kept(["new", "old", "later"]) == "later"
    assert kept(["new", "old"]) == "old"
