import pandas as pd

from pipeline.examination import _groups, text
from pipeline.validation._outliers import Measure


def test_clusters_under_several_labels_come_first_and_show_all_of_them() -> None:
    accepted = pd.DataFrame({"id": list("abcdefg"), "label": list("xxxyzzz")})
    neighbours = pd.DataFrame({"a": ["e", "f", "a", "b", "c"], "b": ["f", "g", "b", "c", "d"]})
    first, second = _groups.near(accepted, neighbours)
    assert (first.title, [row.id for row in first.rows]) == ("4 alike under 2 labels", ["a", "d", "b", "c"])
    assert (second.title, second.size) == ("3 alike", 3)


def test_conflicts_are_grouped_by_their_content() -> None:
    rows = {"id": list("abcde"), "label": list("xxyxy"), "same": list("11122"), "reason": ["conflicting_labels"] * 5}
    found = list(_groups.conflicts(pd.DataFrame(rows).assign(reason=["conflicting_labels"] * 4 + ["duplicate"])))
    assert [[row.id for row in group.rows] for group in found] == [["a", "c", "b"], ["d"]]


def test_the_farthest_outliers_come_first_and_those_in_quarantine_before() -> None:
    accepted = pd.DataFrame(
        {
            "id": list("abcd"),
            "label": "x",
            "length": [5, 9, 900, 5],
            "width": 1,
            "outliers": ["", "length", "length", ""],
        }
    )
    quarantine = pd.DataFrame(
        {"id": ["q"], "label": ["x"], "reason": ["outlier_length"], "detail": "length 2; usual 4 to 6"}
    )
    (group,) = _groups.outliers(accepted, quarantine, [Measure("length"), Measure("width")])
    assert [(row.id, row.note) for row in group.rows] == [
        ("q", "in quarantine: length 2; usual 4 to 6"),
        ("c", "length 900"),
        ("b", "length 9"),
    ]


def test_pairs_of_characters_that_tell_a_class() -> None:
    texts = ["房间很好", "服务很好", "房间很差", "早餐很差"] * 5
    assert text.telling(texts, ["x", "x", "y", "y"] * 5) == {
        "x": ["很好", "务很", "服务", "房间", "间很"],
        "y": ["很差", "早餐", "餐很", "房间", "间很"],
    }
