import pytest

from pipeline.features import markers


@pytest.mark.parametrize(
    "word", ["不", "不错", "没有", "無", "别", "非常", "未", "莫", "勿", "not", "Never", "don't", "##不"]
)
def test_negators_and_words_that_contain_one(word):
    assert markers.negates(word)


@pytest.mark.parametrize("word", ["好", "错", "north", "know", "。", ""])
def test_other_words_negate_nothing(word):
    assert not markers.negates(word)


def test_a_clause_ends_with_its_sign_or_a_line():
    assert all(map(markers.ends_clause, ["。", "!", "?!", "；", "\n", "##。"]))
    assert not any(map(markers.ends_clause, ["，", ",", "a!", "", "<unk>"]))
