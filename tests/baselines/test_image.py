import numpy as np
import pytest

from pipeline import artifacts, config, metrics, prepared, targets
from pipeline.baselines import image
from pipeline.errors import ConfigError, DataError
from pipeline.targets import Target
from tests.prepared_files import write_meta, write_split

CONFIG = image.Config(side=32, cell=8)


def write(folder, classes, channels=1):
    """Stripes, lying, standing or slanted, in noise."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[0:40, 0:40]
    stripes = np.stack([np.sin(down), np.sin(right), np.sin((down + right) / 1.4)])
    for split, count in (("train", 90), ("validation", 60), ("test", 30)):
        labels = np.arange(count) % classes
        grey = 128 + 30 * stripes[labels] + random.normal(0, 45, (count, 40, 40))
        images = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], channels, axis=-1)
        write_split(folder, split, labels, "abc", images)
    write_meta(folder, "image", "abc"[:classes], (40, 40, channels))


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3)])
def test_directions_are_told_apart_with_probabilities_that_mean_something(tmp_path, classes, channels):
    write(tmp_path, classes, channels)
    fitted = image.fit(tmp_path, tmp_path, CONFIG)
    labels = prepared.labels(tmp_path, "validation")
    found = metrics.score(labels, fitted.probabilities["validation"], prepared.target(tmp_path))
    assert found["accuracy"] > 0.9
    assert found["log_loss"] < 0.35
    assert fitted.arrays["coefficients"].shape == (classes, fitted.record["values"])


def test_the_same_seed_gives_the_same_model(tmp_path):
    write(tmp_path, 3)
    first, again = (image.fit(tmp_path, tmp_path, CONFIG) for _ in range(2))
    assert np.array_equal(first.arrays["coefficients"], again.arrays["coefficients"])


def test_a_cell_too_large_for_the_size_is_refused():
    with pytest.raises(ConfigError, match="expected at most a third of side"):
        config.parse(image.Config, {"side": 32, "cell": 16}, "baseline")


def test_few_images_of_a_class_are_fewer_folds_and_one_is_a_message(tmp_path):
    write(tmp_path, 2)
    images, labels = prepared.images(tmp_path, "train")[:], prepared.labels(tmp_path, "train")
    for count in (2, 1):
        kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:count]])
        write_split(tmp_path, "train", labels[kept], "ab", images[kept])
        if count == 2:
            assert np.isfinite(image.fit(tmp_path, tmp_path, CONFIG).probabilities["test"]).all()
    with pytest.raises(DataError, match="one image of a class; expected at least 2"):
        image.fit(tmp_path, tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("target", "sets"),
    [
        (Target("labels", ("lying", "straight")), {"a": "lying|straight", "b": "straight", "c": ""}),
        (Target("value", ("value",), 20.0, 8.0), {"a": "10.0", "b": "20.0", "c": "30.0"}),
    ],
)
def test_labels_and_values_are_told_from_directions(tmp_path, target, sets):
    import pandas as pd

    write(tmp_path, 3)
    for path in tmp_path.glob("*/*.parquet"):
        table = pd.read_parquet(path)
        table.assign(label=[sets[label] for label in table["label"]]).to_parquet(path, index=False)
    artifacts.write_json(
        tmp_path / "meta.json", artifacts.read_json(tmp_path / "meta.json") | {"target": targets.described(target)}
    )
    fitted = image.fit(tmp_path, tmp_path, CONFIG)
    found = metrics.score(prepared.truth(tmp_path, "validation"), fitted.probabilities["validation"], target)
    assert found["macro_f1" if target.kind == "labels" else "r2"] > 0.7, found
