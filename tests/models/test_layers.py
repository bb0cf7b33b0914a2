from typing import get_args

import pytest
import torch
from torch import nn

from pipeline.models import _layers

ACTIVATIONS = {
    "relu": (nn.ReLU, 2**0.5),
    "gelu": (nn.GELU, 2**0.5),
    "silu": (nn.SiLU, 2**0.5),
    "tanh": (nn.Tanh, 5 / 3),
    "sigmoid": (nn.Sigmoid, 1.0),
    "leaky_relu": (nn.LeakyReLU, (2 / (1 + 0.01**2)) ** 0.5),
}


def test_every_activation_is_the_one_that_its_name_says():
    assert set(get_args(_layers.Activation)) == set(ACTIVATIONS)
    for name, (kind, _) in ACTIVATIONS.items():
        assert type(_layers.activation(name)) is kind


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weights_have_the_spread_that_their_activation_asks_for(name):
    torch.manual_seed(0)
    weight = torch.empty(300, 200, 3, 3)
    _layers.draw(weight, name)
    assert weight.std().item() == pytest.approx(ACTIVATIONS[name][1] / 1800**0.5, rel=0.01)
    _layers.draw(weight, name, "fan_out")
    assert weight.std().item() == pytest.approx(ACTIVATIONS[name][1] / 2700**0.5, rel=0.01)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
def test_values_neither_die_nor_explode_on_their_way_through_ten_layers(name):
    torch.manual_seed(0)
    layers = []
    for _ in range(10):
        layer = nn.Linear(256, 256, bias=False)
        _layers.draw(layer.weight, name)
        layers += [layer, _layers.activation(name)]
    with torch.inference_mode():
        assert 0.05 < nn.Sequential(*layers)(torch.randn(64, 256)).std() < 5


@pytest.mark.parametrize(("maps", "shape"), [(True, (5, 12, 4, 6)), (False, (5, 12))])
def test_each_norm_levels_what_it_is_named_for(maps, shape):
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(shape)
    rest = list(range(2, len(shape)))

    def level(values, over):
        return values.mean(over).abs().max() < 1e-4

    found = {name: _layers.normalisation(name, 12, maps=maps)(x) for name in get_args(_layers.Normalisation)}
    assert level(found["batch"], [0, *rest]) and not level(found["batch"], [1, *rest])
    assert level(found["layer"], [1, *rest]) and not level(found["layer"], [0, *rest])
    groups = found["group"].reshape(5, 6, -1)  # 6 groups: as many as 12 channels can be dealt out to, at most 8
    assert level(groups, [2]) and not level(found["layer"].reshape(5, 6, -1), [2])
    assert torch.equal(found["none"], x)


def test_stochastic_depth_leaves_out_whole_examples_in_training_alone_and_keeps_what_is_expected():
    torch.manual_seed(0)
    layer, x = _layers.StochasticDepth(0.25), torch.ones(8000, 2, 3, 3)
    found = layer(x)
    first = found[:, :1, :1, :1]
    assert torch.equal(found, first.expand_as(found))
    assert first.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert first.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(layer.eval()(x), x)
