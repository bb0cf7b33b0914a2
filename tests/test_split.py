"""The stage on validated folders that are written by hand: what it finds, and that it remembers it."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import artifacts, parts, sides, split, strata, targets
from pipeline.config import Task
from pipeline.errors import DataError

RECORD = Path("data/splits/mine.json")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def accepted(labels: str, given: list[str] | None = None, groups: list[str] | None = None, first: int = 0) -> None:
    """Validated rows, one a letter, which is its class; row k from `first` on is the same in every call."""
    rows = [{"id": f"t:{k}", "label": label, "content": f"{k:064x}"} for k, label in enumerate(labels, first)]
    table = pd.DataFrame(rows).assign(group=groups, split=given)
    folder = artifacts.folder("validated", "mine")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "accepted", ignore_errors=True)
    parts.write_frame(table, folder / "accepted")
    pd.DataFrame([], columns=["a", "b"], dtype="str").to_parquet(folder / "neighbours.parquet")
    artifacts.write_json(folder / "summary.json", {"classes": sorted(set(labels)), "settings": {}})


def run(**settings: Any) -> dict[str, Any]:
    """What the stage wrote for the seed and shares."""
    split.main(Task("mine", "text", {"prepare": settings}))
    wanted = {"seed": 0, "shares": list(sides.SHARES)} | settings
    (found,) = [r for r in artifacts.read_json(RECORD) if wanted.items() <= r.items()]
    return dict(found)


def shares(found: dict[str, Any]) -> pd.DataFrame:
    """Each class's share of each split, by what was found."""
    folder = artifacts.folder("validated", "mine")
    table = parts.read(folder / "accepted")
    places = [sides.fraction(found["seed"], content) for content in table["content"]]
    begin = [found["begin"][label] for label in table["label"]]
    table["side"] = [sum(place >= edge for edge in edges) for place, edges in zip(places, begin, strict=True)]
    return pd.crosstab(table["label"], table["side"], normalize="columns")


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_has_its_share_of_every_split(seed: int) -> None:
    accepted("xyyyyyyyyy" * 20)
    found = shares(run(seed=seed))
    assert found.loc["x"].between(0.07, 0.13).all() and found.shape == (2, 3)


def test_what_was_found_stays_as_data_grow_and_is_found_again_when_lost() -> None:
    accepted("xyyyyyyyyy" * 20)
    found = run(seed=3)
    accepted("xyyyyyyyyy" * 30)
    assert run(seed=3) == found
    RECORD.unlink()
    accepted("xyyyyyyyyy" * 20)
    assert run(seed=3) == found


def test_a_new_class_is_added_and_one_that_is_gone_is_kept() -> None:
    accepted("xyyyyyyyyy" * 20)
    before = run()["begin"]
    accepted("xyyyyyyyyy" * 20 + "z" * 60)
    after = run()["begin"]
    assert set(after) == {"x", "y", "z"}
    assert {label: after[label] for label in before} == before
    accepted("xyyyyyyyyy" * 20)
    assert run()["begin"] == after


def test_another_seed_or_other_shares_begin_anew_and_the_first_stay_as_they_were() -> None:
    accepted("xyyyyyyyyy" * 20)
    first = run()
    assert run(seed=1)["begin"] != first["begin"]
    assert run(shares=[0.6, 0.2, 0.2])["begin"] != first["begin"]
    accepted("xyyyyyyyyy" * 30)
    assert run() == first
    assert len(artifacts.read_json(RECORD)) == 3


def test_a_class_too_small_to_be_split_stops_and_nothing_is_remembered() -> None:
    accepted("xyyyyyyyyy" * 20 + "zz")
    with pytest.raises(DataError, match=r"validated/mine: the split \w+ has no example of class z.*add examples"):
        run()
    assert not RECORD.exists()
    accepted("xyyyyyyyyy" * 20 + "zzz")
    assert set(run()["begin"]) == {"x", "y", "z"}


def test_a_record_of_other_data_is_to_be_deleted_where_that_helps() -> None:
    accepted("xyyyyyyyyy" * 20)
    run()
    before = RECORD.read_bytes()
    accepted("xxx" + "y" * 200, first=1000)  # by what is remembered of x, validation or test gets none
    with pytest.raises(
        DataError, match=r"no example of class x; expected .*; delete data/splits/mine\.json, which rem"
    ):
        run()
    assert RECORD.read_bytes() == before
    RECORD.unlink()
    run()
    accepted("xx" + "y" * 200, first=1000)  # too few whatever is remembered
    with pytest.raises(DataError, match=r"no example of class x; expected .*; add examples"):
        run()


def test_too_few_groups_are_named() -> None:
    accepted("xy" * 60, groups=["a", "b"] * 60)
    with pytest.raises(DataError, match=r"each of the 2 groups that your source gives is on one side .*: add groups"):
        run()


def test_a_split_that_has_drifted_is_to_be_made_anew_where_that_helps(caplog: pytest.LogCaptureFixture) -> None:
    accepted("xxxyyyy")
    run()
    assert not caplog.records
    accepted("x" * 300 + "y" * 300, first=1000)
    run()
    (told,) = (record.getMessage() for record in caplog.records)
    assert "without data/splits/mine.json" in told
    caplog.clear()
    RECORD.unlink()
    run()
    run()
    accepted("x" * 300 + "y" * 300, groups=[f"{k // 6}" for k in range(600)], first=1000)
    run()  # groups have their sides by the shares alone
    assert not caplog.records


def test_the_users_own_split_is_to_be_completed_by_the_user() -> None:
    accepted("xy" * 60, ["test", "validation"] * 60)
    with pytest.raises(DataError, match=r"the split train has no example at all.*complete the split"):
        run()


def test_a_whole_split_of_the_users_is_followed_whatever_was_known_before() -> None:
    accepted("xy" * 60)
    assert run()["lacking"] == []
    accepted("xy" * 60, ["train"] * 100 + ["test"] * 20)
    found = run()
    assert found["lacking"] == ["validation"] and all(last == 1 for _, last in found["begin"].values())
    accepted("xy" * 60, ["train"] * 80 + ["validation"] * 20 + ["test"] * 20)
    assert run()["lacking"] == []
    accepted("xy" * 60, ["train"] * 100 + ["test"] * 20)
    run()
    # an example without a side has come: what was drawn so far stays
    accepted("xy" * 60, ["train"] * 80 + ["validation"] * 20 + ["test"] * 19 + [None])  # type: ignore[list-item]
    assert run()["lacking"] == ["validation"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}x",
        '{"seed": 0}',
        '[{"seed": 0}]',
        '[{"seed": "0", "shares": [0.8, 0.1, 0.1]}]',
        *(
            f'[{{"seed": 0, "shares": [0.8, 0.1, 0.1], "begin": {{"x": {begin}}}}}]'
            for begin in ('"y"', "[0.9, 0.1]", "[0.8]", "[-1, 0.5]", "[0.5, 7]", "[0.8, NaN]", "[0.1, 0.2, 0.3]")
        ),
    ],
)
def test_a_damaged_record_stops_and_says_how_to_go_on(text: str) -> None:
    accepted("xy" * 60)
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text(text)
    with pytest.raises(DataError, match=r"data/splits/mine\.json: no record of splits; .*git checkout .*delete it"):
        run()
    assert RECORD.read_text() == text


def asked(kind: str, texts: list[str]) -> None:
    """Validated rows of labels or values; row k is the same in every call."""
    accepted("x" * len(texts))
    folder = artifacts.folder("validated", "mine")
    table = parts.read(folder / "accepted").assign(label=texts)
    shutil.rmtree(folder / "accepted")
    parts.write_frame(table, folder / "accepted")
    names = sorted({name for text in texts for name in targets.parted(text)}) if kind == "labels" else ["value"]
    target = targets.Target("labels" if kind == "labels" else "value", tuple(names))
    artifacts.write_json(folder / "summary.json", targets.record(target) | {"settings": {}})


def placed(kind: str, found: dict[str, Any]) -> pd.DataFrame:
    """Each row's label and side, by what was found."""
    table = parts.read(artifacts.folder("validated", "mine") / "accepted")
    groups = strata.found(table["label"].tolist(), kind, [], found["marks"])  # type: ignore[arg-type]
    begin = [found["begin"][groups.names[k]] for k in groups.of(table["label"])]
    places = [sides.fraction(found["seed"], content) for content in table["content"]]
    sided = [sum(place >= edge for edge in edges) for place, edges in zip(places, begin, strict=True)]
    return table.assign(side=sided)


def test_several_labels_keep_their_shares_and_nobody_moves_when_they_grow() -> None:
    every = (("a", 2), ("b", 5), ("rare", 30))
    texts = [targets.joined(name for name, step in every if k % step == 0) for k in range(600)]
    asked("labels", texts)
    before = placed("labels", run())
    for name in ("a", "b", "rare"):
        mine = before[[name in targets.parted(text) for text in before["label"]]]
        shares = mine["side"].value_counts(normalize=True)
        assert set(shares.index) == {0, 1, 2} and abs(shares[2] - 0.1) < 0.06, name
    asked("labels", [*texts, *["rare|b|a"] * 300, *["new", "new|a"] * 30])
    after = placed("labels", run())
    assert after["side"].tolist()[:600] == before["side"].tolist()


def test_values_keep_their_distribution_and_nobody_moves_when_they_grow() -> None:
    texts = [repr(float(k % 50)) for k in range(500)]
    asked("value", texts)
    first = run()
    before = placed("value", first)
    means = before.groupby("side")["label"].agg(lambda group: group.astype(float).mean())
    assert all(abs(mean - 24.5) < 3 for mean in means)
    asked("value", [*texts, *(repr(100.0 + k) for k in range(400))])
    found = run()
    assert found["marks"] == first["marks"]
    assert placed("value", found)["side"].tolist()[:500] == before["side"].tolist()


def test_a_label_that_a_split_lacks_is_named() -> None:
    asked("labels", ["a"] * 200 + ["b", "b|a"])
    with pytest.raises(DataError, match="the split validation has no example of label b"):
        run()


def test_the_record_of_classes_has_no_marks() -> None:
    accepted("ab" * 40)
    assert "marks" not in run()


def test_what_a_split_keeps_the_shares_of_is_named_by_the_kind() -> None:
    assert split.grouped("classes", 1, 0) == "1 class, 0 new"
    assert split.grouped("labels", 4, 4) == "4 groups of labels, 4 new"
    assert split.grouped("value", 10, 10) == "10 groups of values, 10 new"
