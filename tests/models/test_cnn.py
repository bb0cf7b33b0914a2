import pytest
import torch
from torch import nn

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.models import cnn


def build(height=28, width=28, **settings):
    return cnn.build(cnn.Config(**settings), inputs=ImageInputs(height, width, 1, (0.5,), (0.2,)), outputs=10)


def test_by_default_it_is_convolution_and_pooling_twice_then_a_dense_layer():
    kinds = [type(layer) for layer in build().modules() if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear)]
    assert kinds == [nn.Conv2d, nn.MaxPool2d, nn.Conv2d, nn.MaxPool2d, nn.Linear, nn.Linear]


@pytest.mark.parametrize(("height", "width", "maps"), [(28, 28, (7, 7)), (33, 50, (8, 12)), (4, 4, (1, 1))])
def test_each_block_halves_the_maps_and_a_kernel_changes_no_size(height, width, maps):
    for kernel in (1, 3, 5):
        net = build(height, width, kernel=kernel)
        assert net.blocks(torch.zeros(2, 1, height, width)).shape == (2, 64, *maps)
        assert net(torch.zeros(2, 1, height, width)).shape == (2, 10)


def test_every_size_is_a_setting():
    net = build(channels=(4, 8, 16), dense=20)
    assert [layer.out_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)] == [4, 8, 16]
    assert [layer.out_features for layer in net.modules() if isinstance(layer, nn.Linear)] == [20, 10]


def test_more_blocks_than_the_images_can_be_halved_are_refused():
    with pytest.raises(ConfigError, match=r"channels: found 4 blocks.* 8 pixels on the shorter side; .* most 3"):
        build(40, 8, channels=(4, 4, 4, 4))


@pytest.mark.parametrize(("settings", "match"), [({"channels": []}, "found none"), ({"kernel": 4}, "an odd number")])
def test_no_blocks_and_a_kernel_without_a_middle_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        config.parse(cnn.Config, settings, "model")
