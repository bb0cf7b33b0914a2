"""Training on augmented images: it learns, goes on where it stopped, and judges what no augmentation has touched."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.augmentation.batches import Augmentation
from pipeline.augmentation.settings import Affine, Blur, Colours, Erasing, Images, Mixing, Policy
from pipeline.config import parse
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.fit import augmented, loop
from pipeline.fit.settings import Config
from pipeline.loader.draws import Crop
from pipeline.store import Ragged
from pipeline.targets import Target
from tests.fit.toys import CONFIG, IMAGE, TWO, equal, images, toy, train

FEATURES = {
    "affine": {"images": Images(affine=Affine(rotation=20, translation=0.1, scale=1.2, shear=5))},
    "rand": {"images": Images(policy=Policy("rand_augment", magnitude=4.0))},
    "trivial": {"images": Images(policy=Policy("trivial_augment"))},
    "colours": {"images": Images(colours=Colours(brightness=0.2, contrast=0.2))},
    "blur": {"images": Images(blur=Blur(share=0.5))},
    "erasing": {"images": Images(erasing=Erasing(share=0.5, largest=0.2))},
    "mixup": {"mixing": Mixing(mixup=0.2)},
    "cutmix": {"mixing": Mixing(cutmix=1.0)},
}
EVERY = {
    "images": Images(
        affine=Affine(rotation=10),
        policy=Policy("rand_augment", magnitude=3.0),
        colours=Colours(brightness=0.1),
        blur=Blur(share=0.2),
        erasing=Erasing(share=0.2),
    ),
    "mixing": Mixing(0.2, 1.0, share=0.5),
}
LONGER = dataclasses.replace(CONFIG, epochs=12, patience=12)


def accuracies(found):
    return [row["validation_accuracy"] for row in found.history]


@pytest.mark.parametrize("name", FEATURES)
def test_a_run_with_each_feature_learns_otherwise_than_without(name):
    found = train(toy(), dataclasses.replace(LONGER, **FEATURES[name]))
    assert max(accuracies(found)) >= 0.9
    plain = train(toy(), dataclasses.replace(LONGER, epochs=1))
    other = train(toy(), dataclasses.replace(LONGER, epochs=1, **FEATURES[name]))
    assert other.history[0]["train_loss"] != plain.history[0]["train_loss"]


@pytest.mark.parametrize("stopped", [1, 7, 13])
def test_a_run_stopped_at_a_step_ends_bit_equal(stopped, tmp_path):
    config = dataclasses.replace(CONFIG, **EVERY)
    unbroken = train(toy(), config)
    steps = iter(range(1, 1000))
    with pytest.raises(Exception, match="stopped"):
        train(toy(), config, checkpoints=tmp_path, stop=lambda: next(steps) == stopped)
    assert equal(train(toy(), config, checkpoints=tmp_path).state, unbroken.state)


def test_a_batch_in_parts_sees_the_pictures_of_one_in_one(monkeypatch):
    """The parts are cut after augmentation and mixing."""
    seen = []
    augment = Augmentation.__call__

    def kept(self, *arguments):
        result = augment(self, *arguments)
        seen.append([found.clone() for found in result])
        return result

    monkeypatch.setattr(Augmentation, "__call__", kept)
    for parts in (1, 3):
        train(toy(), dataclasses.replace(CONFIG, epochs=1, accumulate=parts, **EVERY))
    assert [len(found) for found, _ in seen] == 10 * [8]
    for first, second in zip(seen[:5], seen[5:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_every_kind_of_target_is_mixed_and_learnt():
    train_split, validation = images(40), images(16, seed=1)
    kinds = {
        "labels": (Target("labels", ("a", "b")), 2),
        "value": (Target("value", ("level",), mean=0.5, std=0.5), 1),
    }
    for kind, (target, outputs) in kinds.items():
        splits = [
            dataclasses.replace(split, targets=split.targets if kind == "labels" else split.targets[:, 1:])
            for split in (train_split, validation)
        ]
        data = loop.Data(*splits, IMAGE, target)
        found = train(toy(outputs), dataclasses.replace(LONGER, mixing=Mixing(0.2, 1.0)), data=data)
        losses = [row["validation_loss"] for row in found.history]
        assert min(losses) < 0.6 * losses[0], kind


def test_validation_is_never_augmented(monkeypatch):
    """A net that answers with the sum of its pixels shows what it was given."""
    seen = {"train": set(), "validation": set()}

    class Looking(type(toy())):
        def forward(self, arrays):
            seen["train" if self.training else "validation"] |= {image.numpy().tobytes() for image in arrays}
            return super().forward(arrays)

    torch.manual_seed(0)
    data = loop.Data(images(40), images(16, seed=1), IMAGE, TWO)
    loop.fit(net := Looking(), list(net.body), data, dataclasses.replace(CONFIG, **EVERY))
    still = {image.tobytes() for image in data.validation.images}
    assert still <= seen["validation"] <= still | {image.tobytes() for image in data.train.images}  # judged at the end
    assert len(seen["train"]) > 100, "an example looks different in each epoch"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"images": {"affine": {"rotation": 200}}},
            r"images\.affine\.rotation: found 200; expected a number ≥ 0 and ≤ 1",
        ),
        ({"images": {"affine": {"scale": 0.9}}}, r"images\.affine\.scale: found 0\.9; expected"),
        ({"images": {"policy": {"kind": "randaugment"}}}, r"did you mean 'rand_augment'"),
        ({"images": {"blur": {"smallest": 3}}}, r"images\.blur\.smallest: found 3; expected at most largest \(2\)"),
        ({"images": {"erasing": {"shares": 0.2}}}, r"did you mean 'share'"),
        ({"mixing": {"mixup": -1}}, r"mixing\.mixup: found -1"),
        ({"images": {"rotation": 5}}, r"did you mean 'affine\.rotation'"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse(Config, settings, "train")


@pytest.mark.parametrize("ragged", [False, True])
def test_the_picture_shows_originals_and_what_the_first_epochs_make_of_them(ragged, tmp_path):
    split, inputs = images(40), IMAGE
    if ragged:
        flat = split.images.reshape(-1)
        split = dataclasses.replace(split, images=Ragged([flat], [np.tile([8, 8, 1], (40, 1))]))
        inputs = ImageInputs(12, 12, 1, (0.5,), (0.25,))
    config = Config(images=Images(crop=Crop(0.5) if ragged else None, erasing=Erasing(share=0.5)))
    lines = augmented.draw(split, inputs, config)
    assert lines.shape == (5, 8, inputs.height, inputs.width, 1)
    if not ragged:
        assert np.array_equal(lines[0], split.images[np.linspace(0, 39, 8).astype(int)])
    assert len({line.tobytes() for line in lines}) == 5
    assert np.array_equal(lines, augmented.draw(split, inputs, config))
    still = augmented.draw(split, inputs, Config(images=Images("none", 0.0)))
    assert all(np.array_equal(line, still[1] if ragged else still[0]) for line in still[1:])
    augmented.write(lines, tmp_path / "augmented.png")
    with Image.open(tmp_path / "augmented.png") as picture:
        assert picture.size == (8 * 84 - 4, 5 * 84 + 4)


def test_the_picture_is_drawn_by_the_code_that_trains(monkeypatch):
    """The first line below the originals is the first batch of a run on these examples."""
    split = images(8)
    config = dataclasses.replace(CONFIG, epochs=1, batch_size=8, **EVERY)
    lines = augmented.draw(split, IMAGE, config)
    for name, value in (("DANLU_STORE", ""), ("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert np.array_equal(lines, augmented.draw(split, IMAGE, config)), "whichever ranks there are"
    monkeypatch.delenv("DANLU_STORE")
    seen = []

    class Looking(type(toy())):
        def forward(self, arrays):
            seen.append(arrays.numpy().copy())
            return super().forward(arrays)

    loop.fit(net := Looking(), list(net.body), loop.Data(split, split, IMAGE, TWO), config)
    assert np.array_equal(seen[0], lines[1])
