"""Parts and sides of the folds, on rows that need no files, and as they are read from accepted rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import check, config, folds, sides
from pipeline.config import parse
from pipeline.errors import ConfigError, DataError
from pipeline.folds import OUT, Rows
from tests.folding import project

PLACE = "data/validated/toy"
FIVE = folds.Config(folds=5)
SHARE = 0.1 / 0.9


def rows(units: np.ndarray, classes: np.ndarray, out: np.ndarray | None = None) -> Rows:
    count = int(classes.max()) + 1
    having = classes[:, None] == np.arange(count)
    names = tuple(f"class {k}" for k in range(count))
    left = np.zeros(len(units), bool) if out is None else out
    return Rows(units, classes.astype(np.int32), names, having, left)


MANY = rows(np.arange(600) // 3, np.random.default_rng(0).choice(3, 600, p=[0.7, 0.25, 0.05]))


def sided(given: Rows, wanted: folds.Config = FIVE) -> np.ndarray:
    """The side of each row in each fold, [k, N]."""
    found = folds.drawn(given, wanted, PLACE)
    return np.stack([folds.fold(given, found, k, SHARE, wanted, PLACE) for k in range(wanted.folds)])


@pytest.mark.parametrize("kind", ["stratified", "plain"])
def test_each_row_is_tested_once_and_units_stay_together(kind: str) -> None:
    found = sided(MANY, replace(FIVE, kind=kind))
    assert ((found == folds.TEST).sum(axis=0) == 1).all()
    assert (np.ptp(found.reshape(5, 200, 3), axis=2) == 0).all()
    for side, share in ((folds.TEST, 0.2), (folds.VALIDATION, 0.8 / 9)):
        assert np.abs((found == side).mean(axis=1) - share).max() < 0.02


def test_every_part_keeps_the_shares_of_the_classes() -> None:
    """Of units of several classes as nearly as they allow; of single rows to a row."""
    alone = rows(np.arange(600), MANY.groups)
    mixed = rows(np.where(np.arange(600) < 90, MANY.units, np.arange(600)), MANY.groups)
    of_all = MANY.having.mean(axis=0)
    for given, within in ((MANY, 0.03), (alone, 0.01), (mixed, 0.015)):
        for found in sided(given):
            for side in (folds.TRAIN, folds.TEST):
                assert np.abs(given.having[found == side].mean(axis=0) - of_all).max() < within


def test_single_rows_of_large_classes_are_divided_apart_from_larger_units() -> None:
    """So that a hundred thousand of them take no minutes."""
    classes = np.repeat([0, 1], [500, 30]).astype(np.int32)
    units = np.where(np.arange(530) < 20, np.arange(530) // 2, np.arange(530))
    easy = folds._easy(classes, units, 5)
    assert np.flatnonzero(easy).tolist() == list(range(20 + 5 * folds.BALANCING, 500))


def test_another_seed_draws_other_parts_and_the_same_one_the_same() -> None:
    first, again = folds.drawn(MANY, FIVE, PLACE), folds.drawn(MANY, FIVE, PLACE)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, folds.drawn(MANY, replace(FIVE, seed=1), PLACE))


def test_rows_that_are_out_are_in_no_fold() -> None:
    out = np.arange(600) < 90
    found = sided(rows(MANY.units, MANY.groups, out))
    assert (found[:, out] == OUT).all() and ((found[:, ~out] == folds.TEST).sum(axis=0) == 1).all()


def test_a_rare_class_is_on_every_side() -> None:
    classes = (np.arange(200) < 5).astype(np.int64)
    for seed in range(8):  # in nine parts of the rest, four examples would often leave validation without one
        for found in sided(rows(np.arange(200), classes), replace(FIVE, seed=seed)):
            assert [(classes[found == side] == 1).sum() for side in (0, 1, 2)] == [3, 1, 1]


@pytest.mark.parametrize("kind", ["stratified", "plain"])
def test_the_largest_unit_is_trained_on_by_some_folds(kind: str) -> None:
    sizes = np.array([28, 12, *[1] * 160])
    units = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.where(units < 2, units, np.arange(len(units)) % 2)
    for seed in range(4):
        found = sided(rows(units, classes), replace(FIVE, kind=kind, seed=seed))
        for first in (0, 28):  # a row of each of the two large units
            assert (found[:, first] == folds.TRAIN).sum() >= 2


def test_validation_is_completed_by_the_smallest_unit() -> None:
    """Of equals by the first; the size is of all its rows, not of those of the class alone."""
    units = np.repeat(np.arange(6), [5, 3, 2, 2, 20, 20])
    classes = np.where(units < 4, 1, 0)
    classes[[5, 6]] = 0  # of unit 1 one row is of the class
    given = rows(units, classes)
    found = np.where(units == 5, folds.VALIDATION, folds.TRAIN).astype(np.int8)
    folds._complete(given, found)
    assert np.unique(units[found == folds.VALIDATION]).tolist() == [2, 5]


@pytest.mark.parametrize("folds_asked", [2, 3, 5])
def test_a_class_with_too_few_units_is_named(folds_asked: int) -> None:
    """In as few units as would leave a side without it; with one more there are folds."""
    least = {2: 4, 3: 3, 5: 5}[folds_asked]
    units = np.arange(200)
    units[:50] = np.arange(50) % (least - 1)
    classes = (np.arange(200) < 50).astype(np.int64)
    wanted = folds.Config(folds=folds_asked)
    with pytest.raises(
        DataError, match=rf"found {least - 1} examples or groups of class 1, .*expected {least} or more"
    ):
        sided(rows(units, classes), wanted)
    units[:50] = np.arange(50) % least
    assert len(sided(rows(units, classes), wanted)) == folds_asked


def test_a_class_that_chance_leaves_out_of_a_part_is_named() -> None:
    classes = (np.arange(60) < 5).astype(np.int64)
    with pytest.raises(DataError, match=r"part \d of 5: found no example of class 1; expected some of each"):
        for seed in range(20):
            folds.drawn(rows(np.arange(60), classes), folds.Config(5, "plain", seed), PLACE)


def test_groups_of_fewer_rows_than_folds_are_an_error() -> None:
    """Of labels and values, whose groups need not be in every part."""

    def few(count: int) -> Rows:
        return replace(rows(np.arange(60), np.arange(60) // count), names=(), having=np.zeros((60, 0), bool))

    for size in (1, 4):
        with pytest.raises(
            DataError, match=rf"found {size} examples or fewer in each class.*expected 5 or more in one"
        ):
            folds.drawn(few(size), FIVE, PLACE)
        assert len(sided(few(size), replace(FIVE, kind="plain"))) == 5
    assert len(sided(few(5))) == 5


@pytest.mark.parametrize("kind", ["stratified", "plain"])
def test_a_fold_with_one_unit_beside_its_test_part_is_an_error(kind: str) -> None:
    given = rows(np.repeat([0, 1, 2, 3], [10, 1, 1, 1]), np.zeros(13, np.int64))
    with pytest.raises(DataError, match=r"found too few examples outside the test part of fold 2 of 2"):
        folds.fold(given, (given.units > 0).astype(np.int64), 1, SHARE, folds.Config(2, kind), PLACE)


def test_what_is_joined_through_others_is_one_unit() -> None:
    """0 and 1 are of a group, 1 is near 2, 2 and 3 are equal as the model sees them, 4 and 5 came equal; 6 is alone."""
    same = np.array([0, 1, 2, 2, 3, 4, 5])
    near = sides.Near(same, np.array([[1, 2]]), np.array([7, 7, -1, -1, -1, -1, -1]))
    units = folds.joined(near, np.array([1, 2, 3, 4, 5, 5, 6], np.uint64))
    assert units.tolist() == [0, 0, 0, 0, 1, 1, 2]


def test_the_accepted_rows_are_read_with_all_that_joins_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = project.texts(60)
    for k in (0, 1, 2):
        given[k]["group"] = "one"
    given[20]["split"], given[21]["split"] = "test", "train"
    given[21]["group"] = given[20]["group"] = "two"
    project.write(given, [("t:2", "t:9"), ("t:20", "t:30")])
    found = folds.read(project.task(project.TEXT))
    assert len({int(found.units[k]) for k in (0, 1, 2, 9)}) == 1
    assert np.flatnonzero(found.out).tolist() == [20, 21, 30]  # what belongs to a test row is not trained on either
    assert found.names == ("bad", "good") and found.having.sum() == 60


@pytest.mark.parametrize("kind", ["labels", "value"])
def test_labels_and_values_keep_the_shares_of_their_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    given = project.texts(300)
    for row in given:
        row["label"] = str(random.normal()) if kind == "value" else "|".join(n for n in "abc" if random.random() < 0.3)
    target = {"kind": kind, "names": ["value"] if kind == "value" else list("abc")}
    project.write(given, classes=[] if kind == "value" else list("abc"), target=target)
    read = folds.read(project.task(project.TEXT))
    for found in sided(read):
        shares = [np.bincount(read.groups[found == s], minlength=4) / (found == s).sum() for s in (0, 2)]
        assert np.abs(shares[0] - shares[1]).max() < 0.04
        assert kind == "value" or all(read.having[found == side].any(axis=0).all() for side in (0, 1, 2))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"folds": 1}, "folds: found 1; expected 0 for none, or 2 to 20"),
        ({"folds": 21}, r"crossvalidate.folds: found 21; expected"),
        ({"folds": 5, "kind": "grouped"}, "crossvalidate.kind: found 'grouped'; expected"),
        ({"folds": 5, "workers": 0}, "crossvalidate.workers: found 0; expected"),
        ({"fold": 5}, "did you mean 'folds'"),
    ],
)
def test_impossible_settings_are_named(section: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(folds.Config, section, "tasks.toy.crossvalidate")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"compress": {"budget": {"judge": "folds"}}},
            "compress.budget.judge: found folds with crossvalidate.folds 0; expected folds",
        ),
        ({"suspects": {"rows": 10}}, "suspects.rows: found 10 with crossvalidate.folds 0; expected folds"),
        (
            {"crossvalidate": {"folds": 5}, "train": {"init": {"model": "models:/x@champion"}}},
            "train.init.model: found models:/x@champion with crossvalidate.folds 5",
        ),
        (
            {"crossvalidate": {"folds": 5}, "train": {"teacher": {"model": "models:/x@champion"}}},
            "train.teacher: found one with crossvalidate.folds 5",
        ),
    ],
)
def test_what_has_seen_every_fold_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, object], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = project.task(project.TEXT, **sections).raw
    from ruamel.yaml import YAML

    YAML().dump({"tasks": {"toy": dict(raw)}}, config.PARAMS)
    found = [str(error) for error in check.faults(sources_of=[])]
    assert len(found) == 1 and words in found[0]
