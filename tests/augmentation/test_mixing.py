"""Pixels and targets are mixed by the same shares, and any number of ranks mixes alike."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import distributed
from pipeline.augmentation import mixing
from pipeline.augmentation.batches import Augmentation
from pipeline.augmentation.settings import Images, Mixing
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, TextInputs

SIDE, COUNT = 32, 12
INPUTS = ImageInputs(SIDE, SIDE, 1, (0.5,), (0.2,))


def flat():
    """Image k is all of level 20 · k; its target says k."""
    levels = 20 * torch.arange(COUNT, dtype=torch.uint8)
    return levels[:, None, None, None].expand(COUNT, SIDE, SIDE, 1).contiguous(), torch.eye(COUNT)


def mixed(settings, seed=0, targets=None):
    images, own = flat()
    mix = mixing.draw(settings, np.random.default_rng(seed), COUNT, SIDE, SIDE)
    return mix, *mixing.apply(images, own if targets is None else targets, mix, slice(0, COUNT))


@pytest.mark.parametrize("settings", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0), Mixing(1.0, 1.0, 0.5)])
def test_targets_sum_to_one_and_say_what_the_pixels_are(settings):
    for seed in range(5):
        mix, images, targets = mixed(settings, seed)
        assert targets.sum(dim=1).tolist() == pytest.approx(COUNT * [1.0])
        assert (targets >= 0).all() and ((targets > 0).sum(dim=1) <= 2).all()
        stated = targets @ (20.0 * torch.arange(COUNT))  # the mean level that the target stands for
        assert images.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx(stated.tolist(), abs=0.51)
        assert sorted(mix.partners) == list(range(COUNT))


def test_mixup_is_a_mean_and_cutmix_a_rectangle():
    mix, images, targets = mixed(Mixing(mixup=1.0))
    assert all(len(image.unique()) == 1 for image in images)
    expected = mix.weights * 20 * np.arange(COUNT) + (1 - mix.weights) * 20 * mix.partners
    assert images[:, 0, 0, 0].tolist() == pytest.approx(expected.tolist(), abs=0.51)
    assert len(np.unique(mix.weights)) == COUNT, "each example has a weight of its own"
    mix, images, targets = mixed(Mixing(cutmix=1.0))
    for k, (top, left, bottom, right) in enumerate(mix.boxes):
        inner = images[k, top:bottom, left:right]
        assert (inner == 20 * mix.partners[k]).all()
        assert (images[k] == 20 * k).sum() >= SIDE * SIDE - inner.numel()
        if mix.partners[k] != k:
            assert float(targets[k, k]) == pytest.approx(1 - inner.numel() / SIDE**2)


def test_the_weights_follow_their_beta_distribution():
    random = np.random.default_rng(0)
    found = mixing.draw(Mixing(mixup=0.5), random, 40_000, SIDE, SIDE)
    assert found.weights.mean() == pytest.approx(0.5, abs=0.01)
    assert found.weights.var() == pytest.approx(1 / 8, abs=0.005)  # of a beta distribution: 1 / (4 (2 alpha + 1))
    both = mixing.draw(Mixing(0.5, 1.0, share=0.6), random, 40_000, SIDE, SIDE)
    mixed_up, cut = both.weights < 1, (both.boxes[:, 2:] > both.boxes[:, :2]).all(axis=1)
    assert not (mixed_up & cut).any()
    assert mixed_up.mean() == pytest.approx(0.3, abs=0.02) and cut.mean() == pytest.approx(0.3, abs=0.02)


def test_labels_and_values_are_mixed_alike():
    several = (torch.rand(COUNT, 3) > 0.5).float()
    mix, _, targets = mixed(Mixing(mixup=1.0), targets=several)
    own = torch.from_numpy(mix.own).float()[:, None]
    torch.testing.assert_close(targets, own * several + (1 - own) * several[mix.partners])
    values = torch.linspace(-5, 100, COUNT)[:, None]
    mix, _, targets = mixed(Mixing(cutmix=1.0), targets=values)
    own = torch.from_numpy(mix.own).float()[:, None]
    torch.testing.assert_close(targets, own * values + (1 - own) * values[mix.partners])


def test_ranks_mix_as_one_would(monkeypatch):
    images, targets = flat()
    mix, whole, whole_targets = mixed(Mixing(0.5, 1.0), seed=4)
    monkeypatch.setattr(distributed, "gathered", lambda rows: images if rows.dtype == torch.uint8 else targets)
    for mine in (slice(0, 5), slice(5, 12)):
        found, mixed_targets = mixing.apply(images[mine], targets[mine], mix, mine)
        assert torch.equal(found, whole[mine]) and torch.equal(mixed_targets, whole_targets[mine])


def test_what_is_given_is_left_alone_and_a_share_of_none_mixes_nothing():
    images, targets = flat()
    augmentation = Augmentation(Images(), Mixing(1.0, 1.0), INPUTS)
    found, _ = augmentation(images, targets, np.random.default_rng(0), COUNT)
    assert not torch.equal(found, images) and torch.equal(images, flat()[0])
    augmentation = Augmentation(Images(), Mixing(1.0, 1.0, share=0.0), INPUTS)
    assert augmentation(images, targets, np.random.default_rng(0), COUNT)[0] is images


def test_texts_are_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"train\.mixing: found mixup 0\.2 .*for texts; expected 0: a token is"):
        Augmentation(Images(), Mixing(mixup=0.2), TextInputs(50, 9))
    Augmentation(Images(), Mixing(), TextInputs(50, 9))


RANK = """
import sys
import numpy as np, torch
from pipeline import distributed
from pipeline.augmentation.batches import Augmentation
from tests.augmentation import test_mixing as t

with distributed.group(torch.device("cpu")):
    images, targets = t.flat()
    mine = distributed.part(t.COUNT)
    augmentation = Augmentation(t.Images(), t.Mixing(0.5, 1.0), t.INPUTS)
    found, mixed = augmentation(images[mine], targets[mine], np.random.default_rng(3), t.COUNT)
    torch.save((found, mixed), sys.argv[1])
"""


def test_two_ranks_that_talk_to_each_other_mix_as_one(tmp_path):
    images, targets = flat()
    whole = Augmentation(Images(), Mixing(0.5, 1.0), INPUTS)(images, targets, np.random.default_rng(3), COUNT)
    where = {"DANLU_STORE": str(tmp_path / "store"), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    paths = [tmp_path / "0.pt", tmp_path / "1.pt"]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(path)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **where, "RANK": str(rank), "PYTHONPATH": os.getcwd()},
        )
        for rank, path in enumerate(paths)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    parts = [torch.load(path) for path in paths]
    for place in (0, 1):
        assert torch.equal(torch.cat([part[place] for part in parts]), whole[place])
