"""The order of arrival: what is known keeps its place, what is new comes behind."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import arrivals
from pipeline.errors import DataError


def some(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint64)


def test_new_examples_come_behind_the_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "order"
    assert arrivals.extend(folder, some(30, 10, 20)) == 3
    assert arrivals.extend(folder, some(5, 10, 20, 30, 7)) == 2
    known, generations = arrivals.read(folder)
    assert known.tolist() == [30, 10, 20, 5, 7] and generations.tolist() == [0, 3]
    assert arrivals.places(known, some(7, 30)).tolist() == [4, 0]


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    arrivals.extend(tmp_path / "order", some(1, 2))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "order").iterdir()}
    assert arrivals.extend(tmp_path / "order", some(2, 1)) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "order").iterdir()} == before


def test_what_went_and_comes_back_has_its_old_place(tmp_path: Path) -> None:
    folder = tmp_path / "order"
    arrivals.extend(folder, some(1, 2, 3, 4))
    arrivals.extend(folder, some(1, 2, 4))
    arrivals.extend(folder, some(1, 2, 3, 4))
    assert arrivals.read(folder)[0].tolist() == [1, 2, 3, 4]


def test_an_exchanged_data_set_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "order"
    arrivals.extend(folder, some(1, 2, 3, 4))
    arrivals.extend(folder, some(9, 8, 1))
    assert arrivals.read(folder)[0].tolist() == [9, 8, 1]


def test_an_unknown_example_has_no_place() -> None:
    for known in (some(), some(1)):
        with pytest.raises(ValueError, match="without a place"):
            arrivals.places(known, some(2))


@pytest.mark.parametrize("damage", ["cut", "hole", "type"])
def test_a_damaged_order_says_how_to_go_on(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "order"
    arrivals.extend(folder, some(1, 2, 3))
    arrivals.extend(folder, some(1, 2, 3, 4))
    first = folder / "0000000000.npy"
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-3])
    elif damage == "hole":
        first.unlink()
    else:
        np.save(first, np.zeros(3))
    with pytest.raises(DataError, match="the order is then made anew"):
        arrivals.read(folder)


def test_keys_are_the_first_bits_of_the_content() -> None:
    assert arrivals.keys(["00000000000000ff" + "0" * 48]).tolist() == [255]
