from typing import get_args

import pytest
import torch

from pipeline.examples import ImageInputs
from pipeline.models import _layers, cnn, mlp, resnet

INPUTS = ImageInputs(16, 24, 1, (0.5,), (0.2,))


def build(module=mlp, **settings):
    torch.manual_seed(0)
    return module.build(module.Config(**settings), inputs=INPUTS, outputs=2)


def images(count=6):
    return torch.randn(count, 1, 16, 24, generator=torch.Generator().manual_seed(0))


def test_it_has_a_layer_for_each_width_and_none_for_none():
    shapes = [tuple(p.shape) for name, p in build(widths=(8, 5)).named_parameters() if p.ndim == 2]
    assert shapes == [(8, 16 * 24), (5, 8), (2, 5)]
    linear = build(widths=(), dropout=0.0)
    x, y = images(1), images(2)[1:]
    between = linear.head.bias.expand(1, 2)
    torch.testing.assert_close(linear(x) + linear(y) - between, linear(x + y))  # it is linear


@pytest.mark.parametrize("module", [mlp, cnn, resnet])
@pytest.mark.parametrize("name", get_args(_layers.Activation))
def test_the_activation_asked_for_is_the_only_one_and_changes_the_answers(module, name):
    net = build(module, activation=name)
    kinds = {type(_layers.activation(other)) for other in get_args(_layers.Activation)}
    assert {type(layer) for layer in net.modules()} & kinds == {type(_layers.activation(name))}
    other = build(module, activation="tanh" if name == "relu" else "relu")
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        assert not torch.allclose(net.eval()(images()), other.eval()(images()), atol=1e-4)


@pytest.mark.parametrize("module", [mlp, cnn, resnet])
def test_every_norm_is_the_only_one_and_only_a_batch_norm_lets_examples_see_each_other(module):
    for name in get_args(_layers.Normalisation):
        net = build(module, normalisation=name, dropout=0.0)
        kinds = {type(_layers.normalisation(other, 8, maps=module is not mlp)) for other in ("batch", "group")}
        kinds.add(type(_layers.normalisation("layer", 8, maps=module is not mlp)))
        found = {type(layer) for layer in net.modules()} & kinds
        assert found == ({type(_layers.normalisation(name, 8, maps=module is not mlp))} & kinds)
        together, alone = net(images())[:3], net(images()[:3])
        assert torch.allclose(together, alone, atol=1e-5) == (name != "batch")


@pytest.mark.parametrize("module", [mlp, cnn, resnet])
def test_dropout_is_at_work_in_training_alone(module):
    net = build(module, dropout=0.5, normalisation="none")
    assert not torch.equal(net(images()), net(images()))
    assert torch.equal(net.eval()(images()), net(images()))
    still = build(module, dropout=0.0, normalisation="none")
    assert torch.equal(still(images()), still(images()))
