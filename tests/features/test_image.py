import numpy as np
import pytest

from pipeline import prepared
from pipeline.errors import ConfigError, DataError
from pipeline.examples import ImageInputs
from pipeline.features import image
from pipeline.store import Ragged
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


@pytest.mark.parametrize(("scaling", "mean", "std"), [("minmax", [10, 0], [190, 255]), ("none", [0, 0], [255, 255])])
def test_scaling_is_fitted_on_the_train_pixels_alone(tmp_path, scaling, mean, std):
    pixels = np.random.default_rng(0).integers(10, 201, (300, 4, 5, 2), np.uint8)
    pixels[7, :, :, 1] = [0, 255, 3, 4, 5]
    pixels[7, 0, 0, 0], pixels[7, 0, 1, 0] = 10, 200
    write_split(tmp_path, "train", np.zeros(300, np.int64), ["a"], pixels)
    write_split(tmp_path, "validation", [0], ["a"], np.full((1, 4, 5, 2), 255, np.uint8))
    write_meta(tmp_path, "image", ["a"], (4, 5, 2))
    image.featurize(tmp_path, tmp_path, image.Config(scaling))
    found = image.inputs(tmp_path, tmp_path)
    assert np.allclose([found.mean, found.std], np.array([mean, std]) / 255)


def test_images_of_one_colour_span_one_level():
    assert image.statistics(np.full((3, 2, 2, 1), 7, np.uint8), "minmax") == {"mean": [7 / 255], "std": [1 / 255]}


@pytest.mark.parametrize("scaling", ["zscore", "minmax", "none"])
def test_images_of_many_sizes_have_the_statistics_of_their_pixels(scaling):
    pixels = np.random.default_rng(0).integers(0, 200, (6, 4, 5, 3), np.uint8)
    ragged = Ragged([pixels[:2].ravel(), pixels[2:].ravel()], [np.tile([4, 5, 3], (n, 1)) for n in (2, 4)])
    assert image.statistics(ragged, scaling) == image.statistics(pixels, scaling)


def test_an_input_size_for_images_of_one_size_is_an_error(tmp_path):
    prepare(tmp_path, 3)
    with pytest.raises(ConfigError, match=r"features\.input: found 16; expected null"):
        image.featurize(tmp_path, tmp_path, image.Config(input=16))
