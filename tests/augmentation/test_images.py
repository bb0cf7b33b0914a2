"""What is drawn for a batch: each example its own, whatever ranks, within the bounds that the settings state."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.augmentation import policies
from pipeline.augmentation.batches import Augmentation
from pipeline.augmentation.images import Augmenter, part
from pipeline.augmentation.settings import Affine, Blur, Colours, Erasing, Images, Mixing, Policy
from pipeline.examples import ImageInputs

SIDE = 24
SECTIONS = {
    "affine": Affine(rotation=20, translation=0.1, scale=1.3, shear=10),
    "rand": Policy("rand_augment", operations=3, magnitude=12.0),
    "trivial": Policy("trivial_augment"),
    "colours": Colours(0.4, 0.4, 0.4, 0.2),
    "blur": Blur(share=0.6),
    "erasing": Erasing(share=0.7),
}
FIELD = {"rand": "policy", "trivial": "policy"}


def settings(*names):
    return Images(**{FIELD.get(name, name): SECTIONS[name] for name in names})


ALL = settings("affine", "rand", "colours", "blur", "erasing")


def same(count, channels=3):
    """The same picture many times."""
    rough = np.random.default_rng(0).integers(0, 256, (4, 4, channels), np.uint8)
    return torch.from_numpy(rough.repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)[None].repeat(count, 0))


def augmented(images, asked, seed=0):
    augmenter = Augmenter(asked, SIDE, SIDE, images.shape[3])
    return augmenter.apply(images, augmenter.draw(np.random.default_rng(seed), len(images)))


def kinds(images):
    return len({image.numpy().tobytes() for image in images})


def test_all_is_off_by_default_and_takes_no_draw():
    augmentation = Augmentation(Images(), Mixing(), ImageInputs(SIDE, SIDE, 3, (0.5,) * 3, (0.2,) * 3))
    images, targets, random = same(4), torch.eye(4), np.random.default_rng(0)
    found, mixed = augmentation(images, targets, random, 4)
    assert found is images and mixed is targets and not Augmenter(Images(), SIDE, SIDE, 3)
    assert random.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    ("names", "least"),
    [(["affine"], 64), (["colours"], 64), (["blur"], 25), (["erasing"], 30), (["rand"], 50), (["trivial"], 25)],
)
def test_each_example_has_a_draw_of_its_own(names, least):
    images = same(64)
    found = augmented(images, settings(*names))
    assert kinds(found) >= least
    assert torch.equal(images, same(64)), "the batch that was given is left alone"
    assert torch.equal(found, augmented(images, settings(*names)))
    assert not torch.equal(found, augmented(images, settings(*names), seed=1))


@pytest.mark.parametrize("cuts", [[0, 13, 26, 40], [0, 20, 40], [0, 1, 40]])
def test_an_examples_picture_does_not_depend_on_the_ranks_nor_on_the_parts_of_a_batch(cuts, monkeypatch):
    images = torch.randint(0, 256, (40, SIDE, SIDE, 3), dtype=torch.uint8)
    augmenter = Augmenter(ALL, SIDE, SIDE, 3)
    drawn = augmenter.draw(np.random.default_rng(3), 40)
    whole = augmenter.apply(images, drawn)
    slices = [slice(first, last) for first, last in itertools.pairwise(cuts)]
    assert torch.equal(torch.cat([augmenter.apply(images[rank], part(drawn, rank)) for rank in slices]), whole)
    monkeypatch.setattr("pipeline.augmentation.layout.CACHED", 3 * SIDE * SIDE * 3)
    assert torch.equal(augmenter.apply(images, drawn), whole)


def test_a_rank_augments_its_part_as_one_rank_would(monkeypatch):
    images, targets = torch.randint(0, 256, (10, SIDE, SIDE, 3), dtype=torch.uint8), torch.eye(10)
    augmentation = Augmentation(ALL, Mixing(), ImageInputs(SIDE, SIDE, 3, (0.5,) * 3, (0.2,) * 3))
    whole = augmentation(images, targets, np.random.default_rng(1), 10)[0]
    monkeypatch.setenv("DANLU_STORE", "")
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank, mine in enumerate([slice(0, 3), slice(3, 6), slice(6, 10)]):
        monkeypatch.setenv("RANK", str(rank))
        found = augmentation(images[mine], targets[mine], np.random.default_rng(1), 10)[0]
        assert torch.equal(found, whole[mine])
    assert augmentation(images[:0], targets[:0], np.random.default_rng(1), 10)[0].shape == (0, SIDE, SIDE, 3)


def test_draws_stay_within_their_bounds_and_reach_them():
    asked = settings("affine", "colours", "blur", "erasing")
    augmenter = Augmenter(asked, 20, 40, 3)
    moves, factors, blur, _ = augmenter.draw(np.random.default_rng(0), 20_000)
    bounds = {
        "angles": (moves["angles"], -20, 20),
        "right": (moves["shifts"][:, 0], -4, 4),
        "down": (moves["shifts"][:, 1], -2, 2),
        "scales": (moves["scales"], 1 / 1.3, 1.3),
        "shears": (moves["shears"], -10, 10),
        "brightness": (factors["brightness"], 0.6, 1.4),
        "contrast": (factors["contrast"], 0.6, 1.4),
        "saturation": (factors["saturation"], 0.6, 1.4),
        "hue": (factors["hue"], -0.2, 0.2),
        "sigmas": (blur["sigmas"], 0.1, 2),
    }
    for name, (values, low, high) in bounds.items():
        assert low <= values.min() < low + 0.02 * (high - low), name
        assert high - 0.02 * (high - low) < values.max() <= high, name
    assert blur["chosen"].mean() == pytest.approx(0.6, abs=0.02)


def test_only_a_share_is_blurred_and_it_is_smoother():
    images = torch.randint(0, 256, (400, SIDE, SIDE, 1), dtype=torch.uint8)
    found = augmented(images, Images(blur=Blur(share=0.3, smallest=1, largest=2)))
    changed = (found != images).flatten(1).any(dim=1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.07)
    spread = found.float().flatten(1).std(dim=1)
    assert spread[changed].max() < 40 < 60 < spread[~changed].min()


@pytest.mark.parametrize("fill", ["noise", "black", "mean"])
def test_erasing_erases_the_share_that_it_says(fill):
    images = torch.full((600, SIDE, SIDE, 3), 200, dtype=torch.uint8)
    images[:, ::2] = 100
    found = augmented(images, Images(erasing=Erasing(share=0.5, smallest=0.1, largest=0.3, ratio=2, fill=fill)))
    where = (found != images).any(dim=3)
    shares = where.flatten(1).float().mean(dim=1)
    erased = shares > 0
    assert erased.float().mean() == pytest.approx(0.5, abs=0.07)
    assert shares[erased].mean() == pytest.approx(0.2, abs=0.02)
    assert 0.08 < shares[erased].min() < 0.12 and 0.28 < shares[erased].max() < 0.33
    first = int(erased.nonzero()[0])
    rows, columns = where[first].any(dim=1).nonzero(), where[first].any(dim=0).nonzero()
    inner = found[first, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert {"noise": inner.float().std() > 60, "black": (inner == 0).all(), "mean": (inner == 150).all()}[fill]


def test_grey_images_take_what_makes_sense():
    images = same(300, channels=1)
    assert torch.equal(augmented(images, Images(colours=Colours(saturation=0.9, hue=0.5))), images)
    assert kinds(augmented(images, Images(colours=Colours(brightness=0.4)))) > 100
    assert "saturation" not in policies.names(1) and len(policies.names(1)) == 13 and len(policies.names(3)) == 14
    assert kinds(augmented(images, settings("trivial"))) > 60


@pytest.mark.parametrize("channels", [1, 3])
def test_a_policy_draws_every_operation_equally_often_and_within_its_space(channels):
    known = np.array(policies.names(channels))
    for policy, height in ((Policy("trivial_augment"), 100), (Policy("rand_augment", 2, 15.0), 100)):
        drawn = policies.draw(policy, height, 50, channels, np.random.default_rng(0), 30_000)
        assert drawn["operations"].shape == (30_000, 1 if policy.kind == "trivial_augment" else 2)
        counts = np.bincount(drawn["operations"].ravel(), minlength=len(known))
        assert (counts / drawn["operations"].size).tolist() == pytest.approx(len(known) * [1 / len(known)], abs=0.01)
        amounts = {name: drawn["amounts"][known[drawn["operations"]] == name] for name in known}
        if policy.kind == "trivial_augment":
            assert np.abs(amounts["rotate"]).max() == 135 and amounts["rotate"].min() == -135
            assert amounts["translate_x"].max() == 25 and amounts["translate_y"].max() == 32
            assert len(np.unique(np.abs(amounts["contrast"]))) == 31
        else:
            assert set(np.abs(amounts["rotate"])) == {15.0}
            assert np.abs(amounts["translate_x"]).max() == pytest.approx(50 * 150 / 331 / 2)


@pytest.mark.parametrize("name", sorted(policies.LARGEST))
def test_each_operation_of_a_policy_does_what_its_name_says(name):
    images = same(2)
    place = policies.names(3).index(name)
    drawn = {
        "operations": np.full((2, 1), place),
        "amounts": np.full((2, 1), policies._largest(name, False, SIDE, SIDE)),
    }
    found = policies.apply(Policy("rand_augment"), images, drawn)
    assert torch.equal(found, images) == (name == "identity")
    none = drawn | {"amounts": np.zeros((2, 1))}
    still = torch.equal(policies.apply(Policy("rand_augment"), images, none), images)
    assert still == (name not in ("autocontrast", "equalize"))


def test_a_stronger_rand_augment_changes_more():
    images = same(200)
    changes = [
        (augmented(images, Images(policy=Policy("rand_augment", 2, magnitude))).float() - images).abs().mean()
        for magnitude in (0.0, 5.0, 15.0, 30.0)
    ]
    assert changes == sorted(changes) and changes[-1] > 1.5 * changes[1]
