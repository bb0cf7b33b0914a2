"""Shards of earlier runs: found by what they are made of, whole or not at all, and safe to delete."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import cache

FILES = (".bin", cache.ROWS, cache.RECORD)


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
    aged(shelf.stem(old))
    shelf.tidy()
    assert not shelf.has(old) and shelf.has(new)
    assert {path.name for path in shelf.folder.iterdir()} == {f"{new}{suffix}" for suffix in FILES}


def write_twice(shared: Path, turn: Any, faults: Any) -> None:
    """One of two tasks over the same examples."""
    os.chdir(shared)
    for number in range(40):
        shelf = cache.Shelf("measures", f"k{number}", [".bin"])
        turn.wait()
        try:
            name = put(shelf, digests(1, 2), bytes(200_000))
            shelf.link(name, Path(f"{os.getpid()}-{number}"))
            assert shelf.has(name)
        except Exception as error:  # noqa: BLE001  the parent tells
            faults.put(repr(error))


def test_two_tasks_may_make_one_shard_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    turn, faults = context.Barrier(2, timeout=60), context.SimpleQueue()
    tasks = [context.Process(target=write_twice, args=(tmp_path, turn, faults)) for _ in range(2)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert faults.empty(), faults.get()
    outputs = [path.stat() for path in tmp_path.glob("*-*.bin")]
    assert len(outputs) == 80 and all(found.st_size == 200_000 for found in outputs)
    assert len({found.st_ino for found in outputs}) == 40  # both have the winner's
    left = [path.name for path in Path(".danlu/cache/shards").rglob("*.*")]
    assert sorted({name.partition(".")[2] for name in left}) == ["bin", "entry.json", "rows.npy"]


def aged(stem: Path) -> None:
    long_ago = time.time() - cache.KEPT - 1
    os.utime(f"{stem}{cache.RECORD}", (long_ago, long_ago))


def test_what_is_found_or_asked_for_each_day_stays_for_ever() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    found, asked, other = (put(shelf, digests(number)) for number in (1, 2, 3))
    opened = cache.Shelf("mine", "k", [".bin"])
    opened.find(digests(1))  # reads what there is
    for name in (found, asked, other):
        aged(shelf.stem(name))
    assert opened.find(digests(1)) != [None] and opened.has(asked)
    shelf.tidy()  # another task's
    assert shelf.has(found) and shelf.has(asked) and not shelf.has(other)


def test_what_another_task_has_tidied_away_is_not_found() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    name, kept = put(shelf, digests(1)), put(shelf, digests(2))
    shelf.find(digests(1))
    aged(shelf.stem(name))
    cache.Shelf("other", "k", [".bin"]).tidy()
    assert shelf.find(digests(1, 2)) == [None, cache.Place(shelf.stem(kept), 0)]


def flipped(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[-1] ^= 1
    path.write_bytes(found)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [(suffix, damage) for suffix in FILES for damage in (flipped, cut, emptied, Path.unlink)]
HARMLESS = (cache.RECORD, flipped)  # its last byte is a line's end
SILENT = (cache.RECORD, Path.unlink)  # as if it had never been whole


@pytest.mark.parametrize(("suffix", "damage"), [pair for pair in DAMAGES if pair != HARMLESS])
def test_a_damaged_shard_is_none_and_is_made_again(
    suffix: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    shelf, rows = cache.Shelf("mine", "k", [".bin"]), digests(1, 2)
    name = put(shelf, rows, b"content")
    damage(Path(f"{shelf.stem(name)}{suffix}"))
    assert cache.Shelf("mine", "k", [".bin"]).find(rows) == [None, None]
    assert caplog.text.count("removed from the cache, and made again") == ((suffix, damage) != SILENT)
    put(shelf, rows, b"content")
    assert shelf.has(name)
    shelf.link(name, Path("out"))
    assert Path("out.bin").read_bytes() == b"content"


def test_a_write_through_the_output_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    name = put(shelf, digests(1), b"content")
    shelf.link(name, Path("out"))
    with open("out.bin", "r+b") as file:
        file.write(b"C")
    assert not shelf.has(name) and not list(shelf.folder.iterdir())
    assert ".bin: digest" in caplog.text


def test_files_that_were_only_touched_or_copied_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    name = put(shelf, digests(1), b"content")
    path, read = Path(f"{shelf.stem(name)}.bin"), []
    monkeypatch.setattr(cache._File, "of", lambda path, real=cache._File.of: read.append(path) or real(path))
    assert shelf.has(name) and not read
    os.rename(path, "away")
    path.write_bytes(b"content")
    assert shelf.has(name) and str(path) in read
    read.clear()
    assert shelf.has(name) and not read


def test_what_an_earlier_version_left_without_a_record_goes() -> None:
    shelf = cache.Shelf("mine", "k", [".bin"])
    name = put(shelf, digests(1))
    Path(f"{shelf.stem(name)}{cache.RECORD}").unlink()
    assert not shelf.has(name)
    shelf.tidy()
    assert not list(shelf.folder.iterdir())


def test_the_key_changes_with_settings_and_code(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("a")
    first = cache.key({"size": 96}, [code])
    assert cache.key({"size": 96}, [code]) == first and cache.key({"size": 64}, [code]) != first
    code.write_text("b")
    assert cache.key({"size": 96}, [code]) != first
