"""The same batches, bit for bit, whatever reads them: threads, ranks, shards, a resumed run."""

import itertools
import threading

import numpy as np
import pytest

from pipeline import batches
from pipeline.errors import DataError
from pipeline.examples import ImageInputs, Split
from pipeline.loader.draws import Augmentation, Crop, draw
from pipeline.loader.reading import Loader, Scaling
from pipeline.store import Ragged, Store

COUNT, SIDE = 45, (14, 18)
AUGMENTATION = Augmentation("both", 0.2, Crop(0.3))


def sharded(folder, pixels, cuts):
    """Several .npy files seen as one array."""
    for k, part in enumerate(np.split(pixels, cuts)):
        np.save(folder / f"{k}.npy", part)
    return Store.open([folder / f"{k}.npy" for k in range(len(cuts) + 1)], pixels.shape[1:])


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SIDE, 3), np.uint8)


def kept(reading):
    """Copies: a batch holds until the next is asked for."""
    return [(batch.rows.copy(), batch.images.copy()) for batch in reading]


def equal(some, others):
    return len(some) == len(others) and all(
        np.array_equal(a, c) and np.array_equal(b, d) for (a, b), (c, d) in zip(some, others)
    )


def epoch(images, number=2, step=0, **others):
    return kept(
        Loader(images, **{"batch_size": 8, "augmentation": AUGMENTATION, "seed": 5} | others).epoch(number, step)
    )


def test_an_epoch_has_every_row_once_and_its_own_order_and_draws(pixels):
    first, other = epoch(pixels), epoch(pixels, number=3)
    assert sorted(np.concatenate([rows for rows, _ in first])) == list(range(COUNT))
    assert not equal(first, other) and not equal(first, epoch(pixels, seed=6))
    assert equal(first, epoch(pixels))


@pytest.mark.parametrize("scaling", [None, Scaling((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))])
@pytest.mark.parametrize("augmentation", [AUGMENTATION, Augmentation("both", 0.2)])
def test_threads_and_reading_ahead_change_no_bit(pixels, scaling, augmentation, monkeypatch):
    monkeypatch.setattr("pipeline.loader.reading.WORTH_A_THREAD", 100)
    given = {"scaling": scaling, "augmentation": augmentation}
    alone = epoch(pixels, ahead=0, filling=1, **given)
    for ahead, filling in itertools.product((0, 1, 3), (1, 3)):
        assert equal(alone, epoch(pixels, ahead=ahead, filling=filling, **given))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("danlu")]


@pytest.mark.parametrize("world", [2, 3, 11])
@pytest.mark.parametrize("batch_size", [8, 45, 64])
def test_ranks_share_the_batches_of_one(pixels, world, batch_size):
    whole = epoch(pixels, batch_size=batch_size)
    parts = [epoch(pixels, batch_size=batch_size, rank=rank, world=world) for rank in range(world)]
    together = [tuple(np.concatenate(arrays) for arrays in zip(*batch)) for batch in zip(*parts, strict=True)]
    assert equal(whole, together)
    assert all(max(sizes) - min(sizes) <= 1 for sizes in zip(*([len(rows) for rows, _ in part] for part in parts)))


@pytest.mark.parametrize("cuts", [[], [1, 20], [10, 10, 44]])
def test_shards_and_one_array_give_the_same_batches(tmp_path, pixels, cuts):
    assert equal(epoch(pixels), epoch(sharded(tmp_path, pixels, cuts)))
    assert equal(
        epoch(pixels, augmentation=Augmentation()), epoch(sharded(tmp_path, pixels, cuts), augmentation=Augmentation())
    )


def loader(images, **others):
    return Loader(images, batch_size=8, augmentation=AUGMENTATION, seed=1, **others)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_run_stopped_after_any_step_of_two_epochs_goes_on_as_the_unbroken_one(pixels, ahead):
    reading = loader(pixels)
    unbroken = kept(reading) + kept(reading)
    for stop in range(len(unbroken) + 1):
        first, second = loader(pixels, ahead=ahead), loader(pixels, ahead=ahead)
        found = []
        while len(found) < stop:
            found += kept(itertools.islice(first, stop - len(found)))
        state = first.state()
        assert state == {
            "epoch": max(0, stop - 1) // len(first),
            "step": stop - max(0, stop - 1) // len(first) * len(first),
        }
        second.resume(state)
        while len(found) < len(unbroken):
            found += kept(second)
        assert equal(found, unbroken)


def test_without_augmentation_images_are_what_they_were(pixels):
    for rows, images in epoch(pixels, augmentation=Augmentation()):
        assert np.array_equal(images, pixels[rows])
    scaled = epoch(pixels, augmentation=Augmentation(), scaling=Scaling((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    for rows, images in scaled:
        assert np.abs(images - (pixels[rows] / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.3]).max() < 3e-5


def kinds(pixels, augmentation):
    """The different images that one image becomes in a batch of 64."""
    still = pixels[:1].repeat(64, axis=0)
    [batch] = Loader(still, batch_size=64, augmentation=augmentation).epoch(0)
    return {image.tobytes() for image in batch.images}


def test_flips_and_shifts_move_each_image_by_its_own_draw(pixels):
    first = pixels[0]
    flipped = {a.tobytes() for a in (first, first[::-1], first[:, ::-1], first[::-1, ::-1])}
    assert kinds(pixels, Augmentation("both")) == flipped
    assert kinds(pixels, Augmentation("horizontal")) == {first.tobytes(), first[:, ::-1].tobytes()}
    assert len(kinds(pixels, Augmentation("none", 0.3))) > 8
    assert kinds(pixels, Augmentation()) == {first.tobytes()}


def test_any_rows_are_read_in_any_order(pixels):
    rows = np.array([44, 3, 3, 0])
    assert np.array_equal(loader(pixels).read(rows), pixels[rows])
    for wrong in ([45], [-1]):
        with pytest.raises(IndexError, match="of 45 images"):
            loader(pixels).read(np.array(wrong))


def test_crops_have_the_area_and_the_ratio_asked():
    sizes = np.tile([200, 300], (4000, 1))
    boxes = draw(Augmentation(crop=Crop(0.25, 0.5, 1.5)), np.random.default_rng(0), sizes, None).boxes
    areas, ratios = boxes[:, 2] * boxes[:, 3] / 60_000, boxes[:, 3] / boxes[:, 2]
    assert 0.24 < areas.min() < 0.27 and 0.48 < areas.max() < 0.51
    assert 0.65 < ratios.min() < 0.7 and 1.45 < ratios.max() < 1.53
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= sizes).all()
    assert abs(np.median(areas) - 0.375) < 0.01
    thin = draw(Augmentation(crop=Crop(0.9, 1.0, 1.0)), np.random.default_rng(0), np.array([[10, 100]]), None).boxes
    assert thin.tolist() == [[0, 45, 10, 10]]


def ragged(folder, shapes, cut):
    """Images of many sizes, in two shards of real files."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, shape, np.uint8) for shape in shapes]
    for name, part in (("a", slice(cut)), ("b", slice(cut, None))):
        np.save(folder / f"{name}.npy", np.concatenate([image.ravel() for image in images[part]]))
        np.save(folder / f"{name}.shapes.npy", np.array(shapes[part], np.int32))
    return images, Ragged.open([folder / "a", folder / "b"])


def test_images_of_many_sizes_become_batches_of_one(tmp_path):
    sizes = np.random.default_rng(0).integers(5, 60, (30, 2))
    images, found = ragged(tmp_path, [(int(h), int(w), 3) for h, w in sizes], 11)
    assert all(np.array_equal(found[k], image) for k, image in enumerate(images))
    reading = Loader(found, batch_size=8, augmentation=AUGMENTATION, size=(16, 12))
    found = kept(reading.epoch(0))
    assert sorted(np.concatenate([rows for rows, _ in found])) == list(range(30))
    assert {images.shape[1:] for _, images in found} == {(16, 12, 3)}
    assert equal(found, kept(reading.epoch(0)))
    assert equal(found[2:], kept(reading.epoch(0, step=2)))


def test_an_image_of_another_shape_is_cut_in_its_middle(tmp_path):
    images, found = ragged(tmp_path, [(20, 10, 1), (10, 31, 1), (10, 10, 1)], 1)
    read = Loader(found, batch_size=3, size=(10, 10)).read(np.arange(3))
    assert np.array_equal(read[0], images[0][5:15])
    assert np.array_equal(read[1], images[1][:, 10:20])
    assert np.array_equal(read[2], images[2])
    split, inputs = Split(np.zeros(3), np.zeros((3, 1)), images=found), ImageInputs(10, 10, 1, (0.5,), (0.2,))
    assert np.array_equal(batches.read(split, np.array([2, 0]), inputs), read[[2, 0]])


def test_ragged_shards_that_do_not_add_up_are_refused(tmp_path):
    ragged(tmp_path, [(2, 2, 3), (2, 3, 3)], 1)
    np.save(tmp_path / "b.npy", np.zeros(17, np.uint8))
    with pytest.raises(DataError, match="found a shard of 17 bytes; expected 18 bytes"):
        Ragged.open([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DataError, match="one number of channels"):
        ragged(tmp_path, [(2, 2, 3), (2, 3, 1)], 1)
