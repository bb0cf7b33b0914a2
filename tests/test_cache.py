"""Shards of earlier runs: found by what they are made of, whole or not at all, and safe to delete."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline import cache


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def digests(*numbers: int) -> np.ndarray:
    return np.array([list(number.to_bytes(cache.DIGEST, "big")) for number in numbers], np.uint8)


def put(shelf: cache.Shelf, rows: np.ndarray, content: bytes = b"x") -> str:
    name = shelf.name(rows)
    Path(f"{shelf.building(name)}.bin").write_bytes(content)
    shelf.put(name, rows)
    return name


def test_a_shard_is_linked_and_its_rows_are_found() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    rows = digests(1, 2, 256)
    assert not shelf.has(shelf.name(rows))
    name = put(shelf, rows, b"content")
    shelf.link(name, Path("out"))
    assert Path("out.bin").read_bytes() == b"content"
    found = cache.Shelf("mine", "k", [".bin"]).find(digests(256, 3, 1))
    assert found == [cache.Place(shelf.stem(name), 2), None, cache.Place(shelf.stem(name), 0)]


def test_an_empty_shelf_finds_nothing() -> None:
    assert cache.Shelf("mine", "k", [".bin"]).find(digests(1, 0)) == [None, None]


def test_other_settings_are_another_shelf() -> None:
    put(cache.Shelf("mine", "k", [".bin"]), digests(1))
    assert cache.Shelf("mine", "l", [".bin"]).find(digests(1)) == [None]


def test_half_a_shard_counts_for_nothing_and_goes() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    name = shelf.name(digests(1))
    Path(f"{shelf.building(name)}.bin").write_bytes(b"half")
    assert not shelf.has(name) and shelf.find(digests(1)) == [None]
    shelf.tidy()
    (half,) = shelf.folder.iterdir()  # it may be another task's, at work
    os.utime(half, (0, 0))
    shelf.tidy()
    assert not list(shelf.folder.iterdir())


def test_a_shard_that_lost_a_file_is_none() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    name = put(shelf, digests(1))
    Path(f"{shelf.stem(name)}.bin").unlink()
    assert not shelf.has(name) and shelf.find(digests(1)) == [None]


def test_what_was_not_used_for_a_month_goes() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    old, new = put(shelf, digests(1)), put(shelf, digests(2))
    long_ago = time.time() - cache.KEPT - 1
    os.utime(shelf.folder / f"{old}.rows.npy", (long_ago, long_ago))
    shelf.tidy()
    assert not shelf.has(old) and shelf.has(new)
    assert {path.name for path in shelf.folder.iterdir()} == {f"{new}.bin", f"{new}.rows.npy"}


def test_the_key_changes_with_settings_and_code(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("a")
    first = cache.key({"size": 96}, [code])
    assert cache.key({"size": 96}, [code]) == first and cache.key({"size": 64}, [code]) != first
    code.write_text("b")
    assert cache.key({"size": 96}, [code]) != first
