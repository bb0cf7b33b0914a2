import dataclasses

import pytest
import torch
from torch import nn

from pipeline.fit import loop
from pipeline.fit.averages import Averages, shown
from pipeline.fit.settings import Average
from tests.fit.toys import CONFIG, toy, train


def moved(net, by):
    with torch.no_grad():
        for p in net.parameters():
            p += by


def test_an_exponential_average_follows_every_step():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    averages = Averages(net, Average("ema", decay=0.75), epochs=4)
    assert shown(net, averages) is net and shown(net, None) is net
    expected, statistic = None, 0.0
    for n in range(3):
        moved(net, 1)
        net[1].running_mean += 1
        averages.after_epoch(net, 4)
        averages.after_step(net)
        now = net[0].weight.detach().clone()
        decay = 0.0 if expected is None else min(0.75, (1 + n) / (10 + n))
        expected = now if expected is None else decay * expected + (1 - decay) * now
        statistic = decay * statistic + (1 - decay) * (n + 1)
        found = shown(net, averages)
        torch.testing.assert_close(found[0].weight.detach(), expected)
    assert found[1].running_mean[0] == pytest.approx(statistic)
    for _ in range(40):
        averages.after_step(net)
    before = found[0].weight.detach().clone()
    moved(net, 1)
    averages.after_step(net)
    torch.testing.assert_close(found[0].weight.detach(), 0.75 * before + 0.25 * net[0].weight.detach())


def test_a_plain_average_is_of_the_ends_of_the_last_epochs():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    averages = Averages(net, Average("swa", start=0.5), epochs=4)
    ends = []
    for epoch in range(1, 5):
        moved(net, epoch)
        net[1].num_batches_tracked += 1
        averages.after_step(net)
        averages.after_epoch(net, epoch)
        if epoch > 2:
            ends.append(net[0].weight.detach().clone())
        else:
            assert shown(net, averages) is net
    torch.testing.assert_close(shown(net, averages)[0].weight.detach(), torch.stack(ends).mean(dim=0))
    assert shown(net, averages)[1].num_batches_tracked == 4


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_average_is_what_is_judged_and_kept(kind):
    net = toy()
    found = train(net, dataclasses.replace(CONFIG, average=Average(kind, decay=0.5, start=0.5)))
    plain = train(toy())
    assert not torch.equal(found.state["body.1.weight"], plain.state["body.1.weight"])
    assert torch.equal(net.state_dict()["body.1.weight"], found.state["body.1.weight"])
    assert max(row["validation_accuracy"] for row in found.history) > 0.9


def test_whole_numbers_are_not_averaged():
    net = nn.Linear(2, 2)
    net.register_buffer("places", torch.arange(10_000, dtype=torch.int32))
    averages = Averages(net, Average("ema", decay=0.999), epochs=4)
    for _ in range(20):
        averages.after_step(net)
    assert torch.equal(shown(net, averages).places, net.places)


def test_at_least_the_last_epoch_is_averaged():
    net = nn.Linear(2, 2)
    averages = Averages(net, Average("swa", start=0.99), epochs=4)
    for epoch in range(1, 4):
        averages.after_epoch(net, epoch)
        assert not averages.ready
    averages.after_epoch(net, 4)
    assert averages.ready


def test_weights_from_before_the_average_are_not_kept_however_good_and_patience_starts_anew(monkeypatch):
    rows = iter([0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.85, 0.9])
    monkeypatch.setattr(loop._Run, "judged", lambda self, net, split, most=None: {"loss": next(rows, 1.0)})
    config = dataclasses.replace(CONFIG, epochs=20, patience=2, average=Average("swa", start=0.2))
    found = train(toy(), config)
    assert found.best_epoch == 6 and len(found.history) == 8
