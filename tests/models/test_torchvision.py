import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

from pipeline import config, export, graphs, network
from pipeline.compression import dynamic_int8, static_int8
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.models import torchvision
from pipeline.targets import Target

SMALL = {  # one of each family that is built in no time, and pixels that it can take
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 32,
}
SLOW = {"alexnet": 64, "inception_v3": 96, "maxvit_t": 224, "swin_v2_t": 64, "vgg11_bn": 32, "vit_b_32": 64}
HUGE = ("vit_h_14", "regnet_y_128gf")
slowly = [pytest.param(name, side, marks=pytest.mark.slow) for name, side in SLOW.items()]
each_family = pytest.mark.parametrize(("name", "side"), [*SMALL.items(), *slowly])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(height, width=None, channels=1):
    return ImageInputs(height, width or height, channels, (0.5,) * channels, (0.2,) * channels)


def build(name, side=32, channels=1, outputs=3, **settings):
    torch.manual_seed(0)
    chosen = config.parse(torchvision.Config, {"architecture": name} | settings, "model")
    return torchvision.build(chosen, inputs=inputs(side, channels=channels), outputs=outputs)


def own(name, **settings):
    """torchvision's, for colour images and a thousand classes."""
    more = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **more, **settings)


def test_the_names_are_those_of_all_classifiers_of_torchvision():
    assert list(get_args(torchvision.Architecture)) == models.list_models(models)


def test_a_check_of_the_settings_does_not_import_torchvision():
    code = (
        "import sys; from pipeline import config; "
        "config.named('models', {'name': 'torchvision', 'architecture': 'vit_b_16'}, 'model', 'image'); "
        "assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_misspelt_name_is_refused_with_the_right_one():
    with pytest.raises(ConfigError, match=r"found 'resnet81'; expected one of .*did you mean 'resnet18'"):
        config.parse(torchvision.Config, {"architecture": "resnet81"}, "model")


@each_family
def test_tensors_are_named_as_torchvision_names_them_and_only_the_first_and_the_last_differ(name, side):
    net = build(name, side)
    settings = {"image_size": side} if name.startswith("vit") else {}
    expected = {key: value.shape for key, value in own(name, **settings).state_dict().items()}
    found = {key: value.shape for key, value in net.state_dict().items()}
    assert list(found) == list(expected)
    first = next(key for key, layer in net.named_modules() if isinstance(layer, nn.Conv2d))
    head = next(key for key, layer in net.named_modules() if layer is torchvision.stages(net)[-1])
    assert {key.rpartition(".")[0] for key in found if found[key] != expected[key]} == {first, head}
    assert found[f"{head}.weight"][0] == 3 and found[f"{first}.weight"][1] == 1


@each_family
def test_it_learns_from_its_first_weight_to_its_last(name, side):
    net = build(name, side, stochastic_depth=0.0) if name.startswith(torchvision.DEEP) else build(name, side)
    images = torch.randn(4, 1, side, side, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(2):  # a ViT's head starts at zero, and lets no gradient through in the first step
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), torch.arange(4) % 3).backward()
        optimizer.step()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_family
def test_its_stages_go_from_the_input_to_the_head_and_have_every_weight_once(name, side):
    net = build(name, side)
    order = {id(p): k for k, p in enumerate(net.parameters())}
    found = [[order[id(p)] for p in stage.parameters()] for stage in torchvision.stages(net)]
    assert 4 < len(found) < 25
    assert sorted(k for stage in found for k in stage) == list(range(len(order)))
    firsts = [min(stage) for stage in found[1:]]
    assert firsts == sorted(firsts)
    assert max(found[-1]) == len(order) - 1
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    assert not any(isinstance(stage, norms) for stage in torchvision.stages(net))


def test_a_grey_image_is_read_as_the_colour_image_of_three_times_the_same():
    grey, colour = (build("resnet18", channels=channels).eval() for channels in (1, 3))
    images = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(grey(images), colour(images.expand(2, 3, 32, 32)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("alexnet", 32, 32), ("inception_v3", 64, 64), ("maxvit_t", 96, 96), ("vit_b_32", 40, 40), ("vit_b_32", 32, 64)],
)
def test_a_size_that_an_architecture_cannot_take_is_refused_before_anything_runs(name, height, width):
    settings = torchvision.Config(name)
    with pytest.raises(ConfigError, match=rf"found {name} for images of {width}×{height} pixels, which it cannot take"):
        torchvision.build(settings, inputs=inputs(height, width), outputs=2)


@pytest.mark.parametrize(
    ("name", "side", "words"),
    [("vit_b_16", 40, "square ones of a multiple of 16, the pixels"), ("maxvit_t", 96, "ones of a multiple of 224,")],
)
def test_an_architecture_that_parts_an_image_evenly_says_by_what(name, side, words):
    with pytest.raises(ConfigError, match=words) as raised:
        torchvision.build(torchvision.Config(name), inputs=inputs(side), outputs=2)
    assert "larger" not in str(raised.value) and "Consider" not in str(raised.value)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_dropout_is_set_where_the_architecture_has_it_and_else_before_the_head(name):
    torch.manual_seed(0)
    net = build(name, dropout=0.9)
    head, fed = torchvision.stages(net)[-1], []
    before = head if name == "resnet18" else net.classifier[2]
    before.register_forward_hook(lambda layer, read, answer: fed.append(answer.detach()))
    images = torch.randn(4, 1, 32, 32)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    net(images), net(images)
    assert not torch.equal(fed[0], fed[1])
    if name == "mobilenet_v3_small":
        assert (fed[0] == 0).float().mean().item() == pytest.approx(0.9, abs=0.03)
    fed.clear()
    assert torch.equal(net.eval()(images), build(name).eval()(images))
    assert list(net.state_dict()) == list(own(name).state_dict())


def test_what_is_not_set_is_as_published():
    assert build("mobilenet_v3_small").classifier[2].p == 0.2
    ways = [layer.p for layer in build("convnext_tiny").modules() if isinstance(layer, StochasticDepth)]
    assert (ways[0], ways[-1]) == (0, pytest.approx(0.1))


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnet_b0", "swin_t"])
def test_stochastic_depth_rises_to_the_share_asked_for(name):
    ways = [layer.p for layer in build(name, stochastic_depth=0.4).modules() if isinstance(layer, StochasticDepth)]
    assert ways == sorted(ways) and ways[-1] == pytest.approx(0.4)


def test_stochastic_depth_is_refused_where_there_is_none():
    with pytest.raises(ConfigError, match=r"stochastic_depth: found 0\.1 for resnet18, which has none; expected null"):
        config.parse(torchvision.Config, {"stochastic_depth": 0.1}, "model")


def test_norms_follow_within_tens_of_steps():
    net = build("mnasnet0_5")
    assert {layer.momentum for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.1}


def test_a_squeezenets_answers_can_be_negative():
    net = build("squeezenet1_1").eval()
    with torch.no_grad():
        net.classifier[1].bias.fill_(-100)
        assert (net(torch.randn(2, 1, 32, 32)) < 0).all()


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mobilenet_v3_small", 64),  # the default, resnet18, is one of tests/contracts/test_models.py
        *(pytest.param(name, 64, marks=pytest.mark.slow) for name in ("efficientnet_b0", "convnext_tiny")),
        *slowly,
    ],
)
def test_it_is_exported_and_compressed_by_both_schemes(name, side, tmp_path):
    torch.manual_seed(0)
    given = inputs(side)
    net = network.network(torchvision, torchvision.Config(name), given, Target("classes", ("a", "b"))).net.eval()
    export.export(net, given, tmp_path / "fp32.onnx")
    fp32 = graphs.answer(graphs.session(tmp_path / "fp32.onnx"))
    eight = {"images": export.sample(given, 8)}
    with torch.inference_mode():
        expected = net(torch.from_numpy(eight["images"])).numpy()
    np.testing.assert_allclose(fp32(eight), expected, atol=1e-4 * max(1, np.abs(expected).max()))
    feeds = [{"images": eight["images"][k : k + 1]} for k in range(8)]
    for scheme in (static_int8, dynamic_int8):
        scheme.compress(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", scheme.Config(), feeds)
        assert graphs.quantised(tmp_path / "int8.onnx")
        assert np.isfinite(graphs.answer(graphs.session(tmp_path / "int8.onnx"))(eight)).all()
        if scheme is static_int8:
            assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "fp32.onnx").stat().st_size / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in get_args(torchvision.Architecture) if name not in HUGE])
def test_every_architecture_is_built_and_split_into_stages(name):
    net = build(name, 224)
    assert torchvision.stages(net)[-1].weight.shape[0] == 3
    assert {id(p) for stage in torchvision.stages(net) for p in stage.parameters()} == {id(p) for p in net.parameters()}
