import numpy as np

from pipeline import strata


def test_of_several_labels_the_rarest_decides_and_none_is_a_group_of_its_own():
    texts = ["common"] * 8 + ["common|rare"] * 2 + [""] * 3
    found = strata.found(texts, "labels", ["common", "rare"], ())
    assert found.marks == ("rare", "common")
    assert found.names == ("rare", "common", "")
    assert found.of(["common|rare", "common", ""]).tolist() == [0, 1, 2]


def test_an_example_keeps_its_group_as_other_labels_grow_and_new_ones_come():
    first = strata.found(["a", "b", "b", "a|b"], "labels", [], ())
    grown = ["a", "b", "b", "a|b", *["a"] * 9, "a|new"]
    later = strata.found(grown, "labels", [], first.marks)
    assert later.marks == ("new", *first.marks)
    for text in ("a", "b", "a|b"):
        assert first.names[first.of([text])[0]] == later.names[later.of([text])[0]]


def test_values_are_grouped_with_equal_ones_together_and_none_too_few():
    ratings = [0.0] * 300 + [1 / 3] * 60 + [2 / 3] * 15 + [1.0] * 200
    texts = [repr(value) for value in ratings]
    found = strata.found(texts, "value", [], ())
    assert found.marks == (0.0, 1 / 3)
    assert np.bincount(found.of(texts)).tolist() == [300, 60, 215]
    assert found.names == ("up to 0", "over 0 to 0.3333", "over 0.3333")


def test_bounds_of_values_are_remembered():
    texts = [repr(k / 100) for k in range(200)]
    first = strata.found(texts, "value", [], ())
    later = strata.found([*texts, *(repr(5.0 + k) for k in range(500))], "value", [], first.marks)
    assert later.marks == first.marks and len(first.names) == 10


def test_few_values_are_one_group():
    assert strata.found(["1.0", "2.0"] * 10, "value", [], ()).names == (strata.ALL,)


def test_what_is_counted():
    assert strata.counted(["b", "a", "b"], "classes") == {"a": 1, "b": 2}
    assert strata.counted(["a|b", "", "b"], "labels") == {"a": 1, "b": 2}
    counts = strata.counted(["0", "0.44", "0.45", "1"], "value")
    assert sum(counts.values()) == 4 and counts["0.40 to 0.50"] == 2
    assert strata.counted([], "value") == {}


def test_values_that_are_looked_at_are_fifths():
    assert len(set(strata.coarse([repr(float(k)) for k in range(100)], "value"))) == 5
    assert set(strata.coarse(["1.0"] * 5, "value")) == {strata.ALL}
    assert strata.coarse(["a|b", ""], "labels") == ["a|b", ""]
