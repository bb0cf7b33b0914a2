import dataclasses

import pytest
import torch
from torch import nn

from pipeline.fit import groups
from pipeline.fit.settings import Config, Freeze
from pipeline.optimizers import adamw, sgd
from tests.fit.toys import CONFIG, stages, stopping, toy, train


def test_norms_biases_and_embeddings_do_not_decay():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    others, decayed = groups.groups(net, list(net), Config(optimizer=sgd.Config(weight_decay=0.1)), 0.5)
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 4)]
    assert decayed["weight_decay"] == 0.1 and others["weight_decay"] == 0
    assert len(others["params"]) == 4 and others["base"] == decayed["base"] == 0.5


def test_each_stage_has_the_rate_of_the_one_after_it_times_the_decay():
    net = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    net.loose = nn.Parameter(torch.zeros(2))
    found = groups.groups(net, list(net.values()), Config(layer_decay=0.5), 1.0)
    rate_of = {id(p): group["base"] for group in found for p in group["params"]}
    assert [rate_of[id(net[name].weight)] for name in ("first", "second", "head")] == [0.25, 0.5, 1.0]
    assert rate_of[id(net.loose)] == 0.25 and len(rate_of) == 7


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        (Freeze(0), [0, 0, 0]),
        (Freeze(2, every=1), [4, 4, 3, 2, 1, 0, 0]),
        (Freeze(1, every=2), [4, 3, 3, 2, 2, 1, 1, 0]),
    ],
)
def test_stages_thaw_from_the_head_backwards(freeze, expected):
    assert [groups.frozen(freeze, 5, epoch) for epoch in range(len(expected))] == expected


def test_frozen_stages_keep_weights_and_statistics_until_they_thaw():
    net, seen = toy(), []
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def look(row):
        seen.append({name for name, value in net.state_dict().items() if not torch.equal(value, before[name])})

    config = dataclasses.replace(CONFIG, freeze=Freeze(1), optimizer=adamw.Config(learning_rate=0.02))
    assert len(stages(net)) == 3
    train(net, config, on_epoch=look)
    head = {"body.4.weight", "body.4.bias"}
    norm = {f"body.2.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert seen == [head, head | norm, head | norm | {"body.1.weight", "body.1.bias"}, set(before)]
    assert all(p.requires_grad for p in net.parameters())


def test_a_run_that_thaws_is_resumed_bit_by_bit(tmp_path):
    config = dataclasses.replace(CONFIG, freeze=Freeze(1), layer_decay=0.7)
    unbroken = train(toy(), config)
    done = []
    for stop in (3, 7, 12):
        with pytest.raises(Exception, match="stopped"):
            train(toy(), config, checkpoints=tmp_path, **stopping(done, stop))
    resumed = train(toy(), config, checkpoints=tmp_path)
    assert all(torch.equal(value, resumed.state[name]) for name, value in unbroken.state.items())
