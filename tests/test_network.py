import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.examples import ImageInputs
from pipeline.fit import loop
from pipeline.models import cnn
from pipeline.network import Valued, network
from pipeline.targets import Target
from tests.fit.toys import CONFIG, TWO, images

VALUE = Target("value", ("kelvin",), mean=3000.0, std=2.0)


def test_values_keep_their_digits_where_matrices_are_computed_in_few():
    torch.manual_seed(0)
    net = Valued(nn.Linear(4, 1), VALUE)
    arrays = torch.randn(64, 4)
    exact = net(arrays)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(arrays)
    assert found.dtype is torch.float32 and len(found.unique()) > 32
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("memory_format", ["auto", "channels_last", "contiguous"])
def test_the_first_convolution_reads_the_memory_format_asked_for(memory_format):
    inputs = ImageInputs(8, 8, 3, (0.5,) * 3, (0.25,) * 3)
    built = network(cnn, cnn.Config(channels=(4,), dense=4), inputs, TWO)
    seen = []
    first = next(layer for layer in built.net.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()))
    grey = images(16)
    split = dataclasses.replace(grey, images=np.repeat(grey.images, 3, axis=3))
    config = dataclasses.replace(CONFIG, epochs=1, memory_format=memory_format)
    loop.fit(built.net, built.stages, loop.Data(split, split, inputs, TWO), config)
    assert set(seen) == {(192, 64, 8, 1) if memory_format == "contiguous" else (192, 1, 24, 3)}
