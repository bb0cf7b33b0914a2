import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.near import pairs


def test_groups_follow_chains() -> None:
    some = np.array([[4, 5], [1, 2], [0, 1]])
    assert pairs.groups(7, some).tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert [members.tolist() for members in pairs.clusters(7, some)] == [[0, 1, 2], [4, 5]]
    assert pairs.largest_group(7, some) == 3


def test_without_pairs_each_is_a_group() -> None:
    assert pairs.largest_group(3, pairs.NONE) == 1
    assert pairs.largest_group(0, pairs.NONE) == 0
    assert list(pairs.clusters(3, pairs.NONE)) == []


def test_a_flood_of_pairs_stops_with_the_setting_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST", 3)
    piece = np.array([[0, 1], [2, 1]])
    assert pairs.collected([piece], "validate.near_jaccard").tolist() == [[0, 1], [1, 2]]
    with pytest.raises(DataError, match=r"validate.near_jaccard: found over 3 pairs"):
        pairs.collected([piece, piece], "validate.near_jaccard")
