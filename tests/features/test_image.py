import numpy as np
import pytest

from pipeline import prepared
from pipeline.errors import DataError
from pipeline.examples import ImageInputs
from pipeline.features import image
from tests.prepared_files import write_meta, write_split


def prepare(folder, count=300, channels=3):
    random = np.random.default_rng(0)
    for split in ("train", "validation"):
        pixels = random.integers(0, 256, (count, 4, 5, channels), np.uint8) // np.arange(
            1, channels + 1, dtype=np.uint8
        )
        write_split(folder, split, np.zeros(count, np.int64), ["a"], pixels)
    write_meta(folder, "image", ["a"], (4, 5, channels))
    return prepared.images(folder, "train")[:]


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_train_pixels(tmp_path, channels):
    pixels = prepare(tmp_path, channels=channels) / 255
    found = image.featurize(tmp_path, tmp_path, image.Config())
    assert found["mean"] == pytest.approx(pixels.mean(axis=(0, 1, 2)))
    assert found["std"] == pytest.approx(pixels.std(axis=(0, 1, 2)))
    expected = ImageInputs(4, 5, channels, tuple(found["mean"]), tuple(found["std"]))
    assert image.inputs(tmp_path, tmp_path) == expected


def test_images_of_one_colour_leave_a_deviation_to_divide_by():
    assert image.statistics(np.full((3, 2, 2, 1), 7, np.uint8))["std"] == [1 / 255]


def test_a_split_is_memory_mapped(tmp_path):
    prepare(tmp_path)
    split = image.load(tmp_path, tmp_path, "validation")
    assert all(isinstance(shard, np.memmap) for shard in split.images.shards) and len(split) == 300


def test_an_empty_train_split_is_an_error(tmp_path):
    write_split(tmp_path, "train", [], ["a"])
    write_meta(tmp_path, "image", ["a"], (4, 4, 1))
    with pytest.raises(DataError, match="the train split is empty"):
        image.featurize(tmp_path, tmp_path, image.Config())
