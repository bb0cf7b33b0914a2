"""What every file of pipeline/losses/, optimizers/ and schedules/ keeps to; a new one is found and held to it here."""

import importlib
import math
import pkgutil

import numpy as np
import pytest
import torch

from pipeline import losses, optimizers, schedules
from pipeline.schedules._place import Place


def files(package):
    return sorted(found.name for found in pkgutil.iter_modules(package.__path__) if not found.name.startswith("_"))


def module(folder, name):
    return importlib.import_module(f"pipeline.{folder}.{name}")


LOSSES = [(name, kind) for name in files(losses) for kind in module("losses", name).TARGETS]


def examples(kind, count=6):
    """Outputs of a net that knows nothing, and targets, both float32 [6, 3] or [6, 1]."""
    torch.manual_seed(0)
    if kind == "value":
        return torch.randn(count, 1), torch.randn(count, 1)
    targets = torch.eye(3)[torch.arange(count) % 3]
    return torch.randn(count, 3), targets if kind == "classes" else (targets + targets.roll(1, 1)).clamp(max=1)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_a_loss_is_of_each_example_by_itself_and_least_where_the_answer_is_right(name, kind):
    loss = module("losses", name).build(module("losses", name).Config(), kind)
    outputs, targets = examples(kind)
    found = loss(outputs, targets)
    assert found.shape == ((6, 3) if kind == "labels" else (6,)) and (found >= 0).all()
    alone = torch.cat([loss(outputs[k : k + 1], targets[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(found, alone)
    right = targets if kind == "value" else 12 * (2 * targets - 1)
    assert loss(right, targets).max() < found.max() and loss(right, targets).max() < 1e-3


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_descending_a_loss_makes_the_answers_right(name, kind):
    loss = module("losses", name).build(module("losses", name).Config(), kind)
    outputs, targets = examples(kind)
    outputs.requires_grad_()
    descent = torch.optim.Adam([outputs], lr=0.1)
    for _ in range(200):
        descent.zero_grad()
        loss(outputs, targets).mean().backward()
        descent.step()
    if kind == "value":
        torch.testing.assert_close(outputs.detach(), targets, atol=0.05, rtol=0)
    else:
        assert torch.equal(outputs > 0, targets > 0.5) or torch.equal(outputs.argmax(1), targets.argmax(1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", files(optimizers))
def test_an_optimiser_descends_and_takes_rates_and_decay_from_its_groups(name, fused):
    chosen = module("optimizers", name)
    if fused and "cpu" not in chosen.FUSED:
        pytest.skip("PyTorch has no fused one")
    weights, still = torch.nn.Parameter(torch.full((4,), 2.0)), torch.nn.Parameter(torch.full((4,), 2.0))
    groups = [
        {"params": [weights], "lr": 0.1, "weight_decay": 0.0},
        {"params": [still], "lr": 0.0, "weight_decay": 0.1},
    ]
    one = chosen.build(chosen.Config(), groups, fused=fused)
    for _ in range(60):
        one.zero_grad()
        (weights**2 + still**2).sum().backward()
        one.step()
    assert weights.abs().max() < 1.5 and torch.equal(still, torch.full((4,), 2.0))
    decayed = torch.nn.Parameter(torch.ones(4))
    one = chosen.build(chosen.Config(), [{"params": [decayed], "lr": 0.1, "weight_decay": 0.5}], fused=fused)
    decayed.grad = torch.zeros(4)
    one.step()
    assert decayed.max() < 1


@pytest.mark.parametrize("name", files(optimizers))
def test_an_optimisers_state_restored_goes_on_as_it_would_have(name):
    chosen = module("optimizers", name)

    def steps(one, weights, count):
        for _ in range(count):
            weights.grad = weights.detach() ** 3
            one.step()

    def made():
        weights = torch.nn.Parameter(torch.linspace(1, 2, 4))
        return weights, chosen.build(
            chosen.Config(), [{"params": [weights], "lr": 0.01, "weight_decay": 0.0}], fused=False
        )

    unbroken, one = made()
    steps(one, unbroken, 6)
    first, one = made()
    steps(one, first, 3)
    second, other = made()
    second.data.copy_(first.data)
    other.load_state_dict(one.state_dict())
    steps(other, second, 3)
    assert torch.equal(second, unbroken)


@pytest.mark.parametrize("name", files(schedules))
def test_a_schedules_factor_is_finite_and_never_above_one(name):
    chosen = module("schedules", name)
    for total, an_epoch in ((1, 1), (7, 7), (100, 10)):
        found = [chosen.factor(chosen.Config(), Place(step, total, an_epoch)) for step in range(total)]
        assert all(math.isfinite(value) and 0 <= value <= 1 + 1e-12 for value in found)
        assert max(found) > 0.9 or total == 1


def factors(name, total=100, an_epoch=10, losses=(), **settings):
    chosen = module("schedules", name)
    config = chosen.Config(**settings)
    return np.array([chosen.factor(config, Place(step, total, an_epoch, losses)) for step in range(total)])


def test_warm_up_rises_in_a_line_and_the_cosine_falls_to_its_end():
    found = factors("cosine", warmup=0.1)
    assert found[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert found[10] == 1 and found[55] == pytest.approx(0.5) and found[99] < 0.001
    assert factors("cosine", warmup=0, final=0.2)[[0, 99]] == pytest.approx([1, 0.2], abs=1e-3)


def test_steps_constant_and_one_cycle():
    assert factors("constant", warmup=0.02).tolist() == [0.5] + 99 * [1.0]
    assert factors("step", every=3, factor=0.5)[[0, 29, 30, 60, 99]].tolist() == [1, 1, 0.5, 0.25, 0.125]
    found = factors("one_cycle", rise=0.3, first=0.1, last=0.01)
    assert found.argmax() == 30 and found[0] == pytest.approx(0.1) and found[99] == pytest.approx(0.01, abs=2e-3)
    assert (np.diff(found[:31]) > 0).all() and (np.diff(found[30:]) < 0).all()


def test_a_plateau_lowers_the_rate_once_each_time():
    settings = {"factor": 0.5, "patience": 1, "threshold": 0.01}
    lowered = [
        factors("reduce_on_plateau", losses=losses, **settings)[-1]
        for losses in ([], [1.0], [1.0, 1.0], [1.0, 1.0, 0.995], [1, 1, 1, 0.5], [1, 1, 1, 1, 1], [1, 1, 1, math.nan])
    ]
    assert lowered == [1, 1, 1, 0.5, 0.5, 0.25, 0.5]


def test_losses_by_their_formulas():
    outputs, targets = examples("classes")
    log = torch.log_softmax(outputs, 1)
    plain = -(targets * log).sum(1)

    def found(name, kind, **settings):
        chosen = module("losses", name)
        return chosen.build(chosen.Config(**settings), kind)

    torch.testing.assert_close(found("cross_entropy", "classes")(outputs, targets), plain)
    smooth = 0.7 * plain - 0.3 * log.mean(1)
    torch.testing.assert_close(found("cross_entropy", "classes", label_smoothing=0.3)(outputs, targets), smooth)
    torch.testing.assert_close(found("focal", "classes", gamma=0.0)(outputs, targets), plain)
    right = (targets * log.exp()).sum(1)
    torch.testing.assert_close(found("focal", "classes", gamma=3.0)(outputs, targets), (1 - right) ** 3 * plain)
    outputs, targets = examples("labels")
    each = torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    torch.testing.assert_close(found("binary_cross_entropy", "labels")(outputs, targets), each)
    torch.testing.assert_close(found("focal", "labels", gamma=0.0)(outputs, targets), each)
    right = torch.where(targets > 0.5, outputs.sigmoid(), 1 - outputs.sigmoid())
    torch.testing.assert_close(found("focal", "labels", gamma=2.0)(outputs, targets), (1 - right) ** 2 * each)
    values, targets = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.5], [0.0]])
    assert found("mse", "value")(values, targets).tolist() == [0.25, 9]
    assert found("mae", "value")(values, targets).tolist() == [0.5, 3]
    assert found("huber", "value", delta=1.0)(values, targets).tolist() == [0.125, 2.5]
