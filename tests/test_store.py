"""One view on many memory-mapped files."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.store import Store

SHAPE = (5, 4, 3)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Store, np.ndarray]:
    whole = np.random.default_rng(0).integers(0, 256, (23, *SHAPE), dtype=np.uint8)
    paths = []
    for start, end in [(0, 7), (7, 7), (7, 20), (20, 23)]:
        paths.append(tmp_path / f"{start}-{end}.npy")
        np.save(paths[-1], whole[start:end])
    return Store.open(paths, SHAPE), whole


def test_the_view_is_the_array(stored: tuple[Store, np.ndarray]) -> None:
    store, whole = stored
    assert store.shape == whole.shape and len(store) == 23 and store.dtype == np.uint8
    random = np.array([22, 0, 7, 7, 6, 19, 20])
    assert np.array_equal(store[random], whole[random])
    assert np.array_equal(store[:], whole) and np.array_equal(store[3:21:2], whole[3:21:2])
    assert np.array_equal(store[8], whole[8]) and np.array_equal(store[-1], whole[-1])
    assert np.array_equal(np.stack(list(store)), whole)
    assert store[np.array([], np.int64)].shape == (0, *SHAPE)


def test_rows_are_found_in_their_shard(stored: tuple[Store, np.ndarray]) -> None:
    store, whole = stored
    rows = np.arange(23)
    for row, shard, within in zip(rows, *store.locate(rows), strict=True):
        assert np.array_equal(store.shards[shard][within], whole[row])


@pytest.mark.parametrize("row", [23, -24])
def test_a_row_beyond_the_end_is_an_error(stored: tuple[Store, np.ndarray], row: int) -> None:
    with pytest.raises(IndexError):
        stored[0][row]
    with pytest.raises(IndexError):
        stored[0][np.array([0, row])]


def test_shards_are_mapped_not_read(stored: tuple[Store, np.ndarray]) -> None:
    assert all(isinstance(shard, np.memmap) for shard in stored[0].shards if len(shard))


def test_a_shard_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 5, 4, 1), np.uint8))
    with pytest.raises(ValueError, match=r"a\.npy: found uint8 \(5, 4, 1\); expected uint8 \(5, 4, 3\)"):
        Store.open([tmp_path / "a.npy"], SHAPE)


def test_no_shard_is_an_empty_store() -> None:
    assert Store.open([], SHAPE).shape == (0, *SHAPE)
