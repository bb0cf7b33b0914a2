import re

import pytest

from pipeline import compressing, tradeoff
from tests import compressed_entries


@pytest.fixture
def images():
    return compressed_entries.of_images()


@pytest.fixture
def texts():
    return compressed_entries.of_texts()["net"]


def shown(entry, headline="macro_f1"):
    (found,) = compressing.described({"headline": headline, "candidates": {"net": entry}}, "net")
    return found


def words_of(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def dots(svg):
    return len(re.findall(r'<g id="PathCollection_\d+"', svg))


def test_the_words_say_what_was_asked_why_and_how_sure_it_is(images, texts):
    found = shown(images)
    assert found["budget"] == (
        "macro_f1 at most 0.02 lower, as measured; recall of mono_ok, poly_ok at most 0.05 lower; "
        "at least 1.2× as fast as fp32 in ONNX Runtime."
    )
    assert found["words"] == (
        "21.4× as fast as eager PyTorch, 5.29× as fast and 11.9× smaller than fp32. On 494 validation examples it "
        "loses 0.016 macro_f1 against control, 95 % paired interval −0.008 to 0.040. About 17,280 examples are needed "
        "until its upper end keeps the budget too, if the drop is as measured."
    )
    strict = shown(texts)
    for words in ("at the upper end of its 95 % interval", "at least 3× as fast", "at most 2.00 MB"):
        assert words in strict["budget"]
    assert strict["words"].endswith("The whole interval keeps the budget.")
    assert "it loses" not in shown(compressed_entries.of_terms())["words"]  # fp32 is the trained network itself


def test_where_the_folds_judged_the_words_speak_of_their_rows_and_of_validation_beside(images):
    """The chart is of validation, and its line is the drop that is allowed there."""
    chosen, before = images["variants"][images["chosen"]], tradeoff._least(images, "macro_f1")
    drop = compressed_entries.interval(0.0041, 0.0052)
    limits = compressed_entries.budget(max_drop=0.01, class_drops={"mono_ok": 0.05})
    chosen["out_of_fold"] = {"examples": 1633, "drop": drop, "class_drops": {}, "agreement": 0.97, "limits": limits}
    images |= {"judged": {"by": "folds", "examples": 1633, "classes": ["mono_ok"]}, "drop": drop, "max_drop": 0.01}
    found = shown(images)
    assert (
        "recall of mono_ok, poly_ok at most 0.05 lower; on 1,633 rows out of fold macro_f1 at most 0.01 lower and "
        "recall of mono_ok at most 0.05 lower; at least 1.2×"
    ) in found["budget"]
    assert found["words"].endswith(
        "On 1,633 rows out of fold it loses 0.004 macro_f1 against control, 95 % paired interval −0.001 to 0.009. In "
        "each fold it was made anew from the fold's own network; on validation it loses 0.016. The whole interval "
        "keeps the budget."
    )
    assert tradeoff._least(images, "macro_f1") == before


def test_the_table_is_sorted_by_size_and_says_of_each_what_it_is_worth(images):
    found = shown(images)
    rows = {row["name"]: row for row in [*found["rows"], *found["others"]]}
    chosen = rows["pruned_2-static_int8"]
    assert (chosen["network"], chosen["scheme"], chosen["size"]) == ("pruned_2", "static_int8", "152 kB")
    assert chosen["smaller"] == "11.9× smaller" and chosen["verdict"] == "chosen" and chosen["chosen"]
    assert chosen["times"][0] == {"median": "0.0828", "p95": "0.11", "faster": "21.4×"}
    assert (chosen["drop"], chosen["interval"]) == ("0.016", "−0.008 to 0.040")
    assert chosen["note"] == "percentile" and rows["fp32"]["note"] == ""
    assert rows["eager"]["scheme"] == "fp32, PyTorch" and rows["eager"]["drop"] == "–"
    assert rows["pruned_3-static_int8"]["reasons"] == [
        "macro_f1 0.0370 lower; at most 0.02 may be",
        "recall of poly_ok 0.081 lower; at most 0.05 may be",
    ]
    sizes = [images["variants"][row["name"]]["bytes"] for row in found["rows"]]
    assert sizes == sorted(sizes) and found["batches"] == [1, 32]


def test_a_long_table_folds_what_is_neither_chosen_nor_compared_with_nor_in_the_pareto_set(images, texts):
    found = shown(images)
    folded = {row["name"] for row in found["others"]}
    assert folded and not folded & {"eager", "fp32", "pruned_2-static_int8"}
    assert not any(images["variants"][name]["pareto"] for name in folded)
    assert len(found["rows"]) + len(folded) == len(images["variants"])
    assert shown(texts)["others"] == []


def test_the_chart_has_every_variant_that_did_not_collapse(images):
    found = shown(images)
    assert dots(found["chart"]) == len(images["variants"]) - 2 + 1  # one collapsed, one is at fault; the ring
    assert found["beside"].endswith("In the table alone: 1 far worse, 1 at fault and not timed.")
    words = words_of(found["chart"])
    for word in ("static_int8", "fp32, PyTorch", "pruned_2", "chosen", "rejected", "Pareto set", "least allowed"):
        assert word in words
    assert "median latency, batch 1, 1 thread [ms]" in words
    assert found["chart"] == shown(compressed_entries.of_images())["chart"]


def test_of_very_many_variants_the_chart_has_those_that_matter(images):
    for number in range(60):
        images["variants"][f"tried_{number}"] = compressed_entries.variant(
            "trained", "fp16", 900_000 + number, 0.7, 0.82, 0.005, ["slower than fp32"]
        )
    drawn = tradeoff._drawn(images)
    assert len(drawn) == tradeoff.DRAWN
    telling = {name for name, variant in images["variants"].items() if variant["pareto"]}
    assert telling | {"eager", "fp32", "control-fp32", images["chosen"]} <= set(drawn)
    assert "more" in tradeoff.beside(images, "macro_f1")
    assert dots(tradeoff.chart(images, "macro_f1")) <= tradeoff.DRAWN + 1


def test_of_an_error_the_lower_is_drawn_higher_and_loses_the_less(images):
    for variant in images["variants"].values():
        variant["validation"]["mae"] = 1.2 - variant["validation"]["macro_f1"]
    assert tradeoff._least(images, "mae") == pytest.approx(1.2 - 0.827 + 0.02)
    assert "mae at most 0.02 higher" in shown(images, "mae")["budget"]
    assert dots(shown(images, "mae")["chart"]) == dots(shown(images)["chart"])
    expected = shown(images)["heat"]["rows"]
    sensitivity = images["sensitivity"]
    sensitivity |= {"measure": "mae", "score": 1.2 - sensitivity["score"]}
    for level in (level for group in sensitivity["groups"] for level in group["levels"]):
        level["score"] = 1.2 - level["score"]
    shades = [[cell["shade"] for cell in row["cells"]] for row in shown(images, "mae")["heat"]["rows"]]
    assert shades == [[cell["shade"] for cell in row["cells"]] for row in expected]


def test_the_line_joins_what_is_faster_than_all_better_ones():
    places = [(1.0, 0.5), (2.0, 0.4), (3.0, 0.6), (0.5, 0.3), (3.0, 0.55)]
    assert tradeoff._front(places, 1.0) == [(0.5, 0.3), (1.0, 0.5), (3.0, 0.6)]
    assert tradeoff._front(places, -1.0) == [(0.5, 0.3)]


def test_the_heat_map_is_darkest_where_most_is_lost(images):
    found = shown(images)["heat"]
    shades = {row["name"]: [cell["shade"] for cell in row["cells"]] for row in found["rows"]}
    assert found["ratios"] == ["25 %", "50 %", "75 %"] and found["most"] == "0.394"
    assert shades["blocks.0.body.0"] == sorted(shades["blocks.0.body.0"]) and shades["blocks.0.body.0"][2] == 1.0
    stem = found["rows"][0]
    assert (stem["full"], stem["width"]) == ("body.stem.0", "16 channels")
    assert [cell["score"] for cell in stem["cells"]] == ["", "0.500", ""]  # 16 channels: no step of 16 at a quarter
    assert stem["cells"][1]["note"].startswith("8 kept: ")
    assert compressing.heat(images["sensitivity"] | {"score": 0.1}, compressing._short(images))["most"] == "0.000"


def test_of_many_groups_the_map_has_the_heaviest_and_says_how_many_more_there_are(texts):
    found = shown(texts)["heat"]
    assert len(found["rows"]) == compressing.GROUPS and found["hidden"] == 12
    assert found["rows"][0]["full"] == "encoder.layers.6.attention"  # the fixture's later groups weigh more
    assert found["rows"][-1]["full"] == "encoder.layers.25.feed_forward.between"
    assert all(len(row["name"]) <= 28 for row in found["rows"])
    assert len({row["name"] for row in found["rows"]}) == compressing.GROUPS


def test_names_are_short_and_stay_different():
    assert compressing.shortened(["body.a.0", "body.a.1", "body.b"]) == ["a.0", "a.1", "b"]
    long = [f"encoder.layers.{k}.feed_forward.between" for k in (1, 2)]
    assert compressing.shortened([*long, "head"]) == [f"enc.lay.{k}.fee.between" for k in (1, 2)] + ["head"]
    assert compressing.shortened(["x" * 40]) == ["…" + "x" * 27]
    assert compressing.shortened([]) == []


def test_what_was_left_is_named_with_its_reason_and_levels_say_what_training_again_brought(images):
    found = shown(images)
    assert found["left"] == (
        "head (not cut: it gives the answers); "
        "blocks.0.gate, blocks.1.gate (not cut: it has 16 channels, and 16 are the fewest that are fast)"
    )
    first = found["levels"][0]
    assert (first["saving"], first["parameters"], first["before"], first["after"]) == (
        "35 %",
        "263,320",
        "0.744",
        "0.826",
    )
    assert first["cut"][0] == "blocks.0.body.0 48 of 64" and first["distilled"] == "no"
    assert found["levels"][2]["distilled"] == "yes" and len(found["levels"][2]["cut"]) == 9


def test_a_graph_at_fault_was_not_timed_and_is_no_dot(images):
    found = shown(images)
    (row,) = [row for row in found["others"] if row["name"] == "static_int8+mixed"]
    assert row["times"] == [None, None] and row["memory"] == "–"
    assert row["reasons"] == ["scales that are no positive numbers: stem.0.scale"]
    assert "static_int8+mixed" not in tradeoff._drawn(images)


def test_classes_may_have_drops_of_their_own_and_intervals_the_level_of_their_bound(images):
    images["budget"] |= {"class_drops": {"a": 0.05, "b": 0.02, "c": 0.05}, "bound": "upper_90", "disagreement": 0.02}
    said = compressing.budget(images, "macro_f1")
    assert (
        "0.02 lower, at the upper end of its 90 % interval; recall of b at most 0.02 and of a, c at most 0.05 lower"
        in said
    )
    assert "at most 2.0% of the answers" in said
    assert "90 % paired interval" in compressing.words(images, "macro_f1")
    images["budget"]["class_drops"] = {}
    assert "recall" not in compressing.budget(images, "macro_f1")


def test_what_was_not_measured_is_a_dash_and_nothing_pruned_has_no_map():
    found = shown(compressed_entries.of_terms())
    assert found["heat"] is None and found["levels"] == [] and found["left"] == ""
    (half,) = [row for row in found["rows"] if row["scheme"] == "fp16"]
    assert half["memory"] == "–"


def test_one_batch_size_is_one_column(images):
    images["target"]["batch_sizes"] = [32]
    found = shown(images)
    assert found["batches"] == [32] and len(found["rows"][0]["times"]) == 1
    assert compressing.latency_tile(images)["note"] == "21.4× as fast as eager PyTorch, batch 32"
    images["target"]["batch_sizes"] = [8, 1, 32, 4]
    assert tradeoff.batches(images) == [8, 32]  # the first decides


def test_sizes_and_times_have_the_digits_that_say_something():
    assert compressing.size_text(512_000) == "512 kB" and compressing.size_text(2_000_000) == "2.00 MB"
    assert [compressing._milliseconds(x) for x in (0.01051, 1.7683, 37.12, 812.4)] == ["0.0105", "1.77", "37.1", "812"]
    assert compressing._signed(-0.0001) == "0.000" and compressing._signed(-0.012) == "−0.012"
    assert compressing._smaller(1.01) == "" and compressing._smaller(0.5) == "2.0× larger"
