import pytest

from pipeline import columns
from pipeline.errors import DataError

TEXTS = ["这个产品很好用", "质量太差了", "下次还会再买", "客服态度恶劣"]


def survey(names: str, *rows: tuple[str, ...]) -> dict[str, columns.Column]:
    return columns.survey(dict(zip(names.split(","), row, strict=True)) for row in rows)


@pytest.mark.parametrize(
    ("text", "label"), [("text", "label"), ("评论", "标签"), ("Content", "SENTIMENT"), ("内容", "类别")]
)
def test_known_names_are_taken_whatever_the_columns_hold(text: str, label: str) -> None:
    found = survey(f"id,{label},{text}", ("1", "x", "good"), ("2", "y", "bad"))
    assert columns.choose(found, "a.csv") == (text, label)


def test_unknown_names_are_judged_by_what_the_columns_hold() -> None:
    rows = [(str(k), "标题", TEXTS[k % 4] * 3, "好" if k % 2 else "差") for k in range(8)]
    assert columns.choose(survey("a,b,c,d", *rows), "a.csv") == ("c", "d")


def test_two_candidates_are_an_error_that_names_columns_and_flags() -> None:
    rows = [(TEXTS[k % 4], str(k % 2), str(k % 3)) for k in range(12)]
    with pytest.raises(
        DataError, match=r"found b, c as .* labels; expected one of a, b, c; say --text NAME --label NAME"
    ):
        columns.choose(survey("a,b,c", *rows), "a.csv")
    assert columns.choose(survey("a,b,c", *rows), "a.csv", label="c") == ("a", "c")


def test_no_candidate_is_an_error_that_names_the_columns() -> None:
    with pytest.raises(DataError, match=r"no column that holds texts; expected one of a, b"):
        columns.choose(survey("a,b", ("x", "y"), ("z", "w")), "a.csv")


def test_a_column_asked_for_must_exist() -> None:
    with pytest.raises(DataError, match="found no column 'nope'; expected one of text, label"):
        columns.choose(survey("text,label", ("x", "y")), "a.csv", text="nope")


def test_many_distinct_values_are_no_labels() -> None:
    rows = [(TEXTS[k % 4] + str(k), str(k), "好" if k % 2 else "差") for k in range(300)]
    assert columns.choose(survey("t,number,l", *rows), "a.csv") == ("t", "l")


def test_a_column_of_split_words_is_no_label() -> None:
    rows = [(TEXTS[k % 4], "train" if k % 3 else "dev", "好" if k % 2 else "差") for k in range(12)]
    found = survey("t,split,l", *rows)
    assert columns.split(found) == "split" and columns.choose(found, "a.csv") == ("t", "l")
    assert columns.split(survey("t,split", ("x", "left"), ("y", "train"))) is None


@pytest.mark.parametrize(
    ("first", "expected"), [(("0", "新的一句"), True), (("y", "x"), False), (("label", "句"), False)]
)
def test_a_first_line_with_a_later_label_is_data(first: tuple[str, str], expected: bool) -> None:
    rows = [dict(zip("12", row, strict=True)) for row in [first, *((str(k % 2), TEXTS[k % 4]) for k in range(8))]]
    assert columns.first_line_is_data(rows) is expected


def test_a_group_is_no_label_and_the_first_of_the_known_names() -> None:
    rows = [(TEXTS[k % 4], f"p{k}", str(k // 4), "好" if k % 2 else "差") for k in range(24)]
    found = survey("t,patient,Group,l", *rows)
    assert columns.group(found) == "Group" and columns.choose(found, "a.csv") == ("t", "l")
    few = survey("t,group,l", *[(TEXTS[k % 4], str(k % 2), "好" if k % 2 else "差") for k in range(24)])
    assert columns.group(few) is None
