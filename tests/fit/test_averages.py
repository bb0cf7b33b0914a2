import dataclasses

import pytest
import torch
from torch import nn

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
    expected = None
    for _ in range(3):
        moved(net, 1)
        net[1].running_mean += 1
        averages.after_epoch(net, 4)
        averages.after_step(net)
        now = net[0].weight.detach().clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
        found = shown(net, averages)
        torch.testing.assert_close(found[0].weight.detach(), expected)
    assert found[1].running_mean[0] == pytest.approx(0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 3)


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
