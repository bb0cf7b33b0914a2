import numpy as np
import pytest
import torch

from pipeline import config, export, graphs, network
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.models import resnet
from pipeline.targets import Target


def test_a_width_that_int8_cannot_fill_is_refused():
    with pytest.raises(ConfigError, match="expected a multiple of 32"):
        config.parse(resnet.Config, {"width": 48}, "model")


@pytest.mark.parametrize(("side", "expected"), [(8, 4), (32, 8), (64, 8), (96, 6), (112, 7)])
def test_the_stem_keeps_the_last_maps_about_as_large_at_every_size(side, expected):
    net = resnet.build(resnet.Config(), inputs=ImageInputs(side, side, 1, (0.5,), (0.2,)), outputs=2)
    with torch.inference_mode():
        maps = net.blocks(net.stem(torch.zeros(1, 1, side, side)))
    assert maps.shape == (1, 128, expected, expected)


def build(**settings):
    torch.manual_seed(0)
    return resnet.build(resnet.Config(**settings), inputs=ImageInputs(32, 32, 1, (0.5,), (0.2,)), outputs=2)


def test_its_defaults_draw_the_weights_that_they_always_have():
    state = build().state_dict()
    assert len(state) == 70 and list(state)[2:4] == ["blocks.0.body.0.weight", "blocks.0.body.1.weight"]
    assert float(sum(value.abs().sum() for value in state.values())) == pytest.approx(18878.7168, rel=1e-5)


def test_stochastic_depth_leaves_blocks_out_in_training_alone_the_later_the_more():
    images = torch.randn(64, 1, 32, 32)
    net = build(stochastic_depth=0.8, blocks=2, dropout=0.0)
    shares = [block.depth.share for block in net.blocks]
    assert shares == pytest.approx([0.1 * k for k in range(1, 9)])
    whole = build(blocks=2)
    assert torch.equal(net.eval()(images), whole.eval()(images))
    for block in (net.blocks[0], net.blocks[7]):
        maps = torch.randn(400, block.body[0].in_channels, 4, 4)
        with torch.no_grad():
            around = block.train().activation(block.around(maps))
            left_out = (block(maps) == around).flatten(1).all(dim=1)
        assert left_out.float().mean().item() == pytest.approx(block.depth.share, abs=0.07)
        assert not (block.eval()(maps) == around).flatten(1).all(dim=1).any()


def test_without_a_norm_the_spread_of_values_stays_in_bounds_however_many_blocks_there_are():
    net = build(normalisation="none", blocks=8)
    with torch.inference_mode():
        maps = net.blocks(net.stem(torch.randn(8, 1, 32, 32)))
    assert 0.01 < maps.std() < 20
    assert all(layer.bias is not None for layer in net.modules() if isinstance(layer, torch.nn.Conv2d))


@pytest.mark.parametrize("pooling", ["mean", "max", "generalised"])
def test_each_pooling_is_what_its_name_says_trains_and_is_exported(pooling, tmp_path):
    net = build(pooling=pooling)
    maps = torch.randn(3, 128, 4, 4).relu().requires_grad_()
    flat, found = maps.flatten(2), net.pooled(maps)
    expected = {"mean": flat.mean(2), "max": flat.amax(2), "generalised": flat.pow(3).mean(2).pow(1 / 3)}
    assert torch.allclose(found, expected[pooling], atol=1e-5)
    found.sum().backward()
    assert maps.grad is not None and maps.grad.isfinite().all()
    assert net.pooled(torch.zeros(1, 128, 4, 4)).isfinite().all()
    images = ImageInputs(32, 32, 1, (0.5,), (0.2,))
    whole = network.network(resnet, resnet.Config(pooling=pooling), images, Target("classes", ("a", "b")))
    export.export(whole.net.eval(), images, tmp_path / "net.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1)).astype(np.uint8)
    (answers,) = graphs.session(tmp_path / "net.onnx").run(None, {"images": pixels})
    with torch.inference_mode():
        assert np.allclose(answers, whole.net(torch.from_numpy(pixels)).numpy(), atol=1e-3)
