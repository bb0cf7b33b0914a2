import pytest
import torch

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.models import resnet


def test_a_width_that_int8_cannot_fill_is_refused():
    with pytest.raises(ConfigError, match="expected a multiple of 32"):
        config.parse(resnet.Config, {"width": 48}, "model")


@pytest.mark.parametrize(("side", "expected"), [(8, 4), (32, 8), (64, 8), (96, 6), (112, 7)])
def test_the_stem_keeps_the_last_maps_about_as_large_at_every_size(side, expected):
    net = resnet.build(resnet.Config(), inputs=ImageInputs(side, side, 1, (0.5,), (0.2,)), classes=2)
    with torch.inference_mode():
        maps = net.blocks(net.stem(torch.zeros(1, 1, side, side)))
    assert maps.shape == (1, 128, expected, expected)
