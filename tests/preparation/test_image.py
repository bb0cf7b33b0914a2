"""What images may not stand on two sides."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import parts, sides
from pipeline.preparation import image


def near(folder: Path, flat: list[str | None], found: sides.Near) -> sides.Near:
    ids = [str(row) for row in range(len(flat))]
    parts.write_frame(pd.DataFrame({"id": ids, "flat": pd.Series(flat, dtype="str")}), folder)
    return image.near(image.Config(), folder, found, {})


def test_images_of_one_colour_have_one_number(tmp_path: Path) -> None:
    flat = [None, "#ffffff", "#000000", "#ffffff", None, "#000000"]
    found = near(tmp_path / "a", flat, sides.Near(np.arange(6), np.array([[0, 4], [1, 3], [3, 4]]), np.full(6, -1)))
    assert found.same.tolist() == [0, 1, 2, 1, 4, 2]
    assert found.pairs.tolist() == [[0, 4], [1, 4]]


def test_what_is_equal_already_stays_equal(tmp_path: Path) -> None:
    found = near(
        tmp_path / "a",
        ["#ffffff", None, "#ffffff", None],
        sides.Near(np.array([3, 1, 2, 1]), np.empty((0, 2), int), np.full(4, -1)),
    )
    assert found.same.tolist() == [3, 1, 3, 1]


def test_a_hundred_thousand_blank_pages_are_no_pairs(tmp_path: Path) -> None:
    count = 100_000
    found = near(
        tmp_path / "a",
        ["#ffffff"] * count,
        sides.Near(np.arange(count), np.empty((0, 2), np.int64), np.full(count, -1)),
    )
    assert not found.same.any() and found.pairs.shape == (0, 2)
    on = np.arange(count) % 3
    assert np.array_equal(sides.kept(on, found), on == 2)
    assert len(sides.leaks(on, found)) == int((on < 2).sum())
