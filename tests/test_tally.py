from pipeline.tally import Tally


def test_the_line_counts_classes_and_names_the_first_refused() -> None:
    tally = Tally()
    tally.add("a/1", "b", None)
    tally.add("a/2", "a", None)
    tally.add("a\n3", "a", "broken")
    tally.add("a/4", None, "broken too")
    assert str(tally) == "2 examples in 2 classes (a 1, b 1); 2 refused (first: 'a\\n3': broken)"
    assert tally.total == 4


def test_hundreds_of_classes_stay_on_one_page() -> None:
    tally = Tally()
    for k in range(1000):
        tally.add(str(k), f"class {k}", None)
    assert (
        len(str(tally)) < 600
        and str(tally).endswith(", and 980 more)")
        and "1,000 examples in 1000 classes" in str(tally)
    )


def test_a_text_for_a_label_is_cut_short() -> None:
    tally = Tally()
    tally.add("1", "很长" * 100, None)
    assert str(tally) == f"1 example in 1 class ({('很长' * 100)[:29]}… 1)"


def test_labels_are_counted_each_and_values_have_a_range() -> None:
    labels = Tally("labels")
    for text in ("a|b", "a", ""):
        labels.add("x", text, None)
    assert str(labels) == "3 examples in 2 labels (a 2, b 1)" and labels.several == 1
    values = Tally("value")
    for text in ("1.5", "-2", "x", "1.5"):
        values.add("x", text, None)
    assert str(values) == "4 examples in 3 values (-2 to 1.5)"
