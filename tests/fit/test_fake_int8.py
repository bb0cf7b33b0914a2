import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from pipeline import export, graphs, network
from pipeline.compression import static_int8
from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.fit import fake_int8, loop
from pipeline.fit.settings import Config
from pipeline.models import cnn, mlp, resnet, textcnn, torchvision, transformer
from pipeline.optimizers import adamw
from pipeline.targets import Target
from tests.fit.toys import equal, stopping

IMAGES = ImageInputs(16, 16, 1, (0.5,), (0.25,))
THREE = Target("classes", ("a", "b", "c"))
CONFIG = Config(epochs=3, batch_size=16, patience=10, optimizer=adamw.Config(learning_rate=2e-3))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def stripes(count, seed=0):
    """Horizontal, vertical or slanted ones, faint among noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    y, x = np.mgrid[:16, :16]
    waves = np.stack([np.sin(y * 1.2), np.sin(x * 1.2), np.sin((x + y) * 0.9)])
    pixels = 128 + 22 * waves[labels] + random.normal(0, 40, (count, 16, 16))
    images = pixels.clip(0, 255).astype(np.uint8)[..., None]
    return Split(labels, np.eye(3, dtype=np.float32)[labels], images=images)


TRAIN, VALIDATION = stripes(192), stripes(96, seed=1)
DATA = loop.Data(TRAIN, VALIDATION, IMAGES, THREE)


def feeds(count=32):
    return [{"images": TRAIN.images[k : k + 1]} for k in range(count)]


def fit(net, stages, config=CONFIG, checkpoints=None, **hooks):
    return loop.fit(net, stages, DATA, config, checkpoints=checkpoints, hooks=loop.Hooks(**hooks))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    built = network.network(cnn, cnn.Config(channels=(16, 32), dense=64), IMAGES, THREE)
    fit(built.net, built.stages)
    return built


def prepared(trained):
    net = fake_int8.prepare(copy.deepcopy(trained.net), feeds())
    return net, cnn.stages(net.body)


def faked(net):
    return {name for name, part in net.named_modules() if isinstance(part, fake_int8.Range)}


def outputs(net, split=VALIDATION):
    with torch.inference_mode():
        return net.eval()(torch.from_numpy(split.images)).numpy()


def int8_outputs(net, folder):
    """Of the graph that static_int8 makes of a plain net."""
    export.export(net, IMAGES, folder / "fp32.onnx")
    static_int8.compress(folder / "fp32.onnx", folder / "int8.onnx", static_int8.Config(), feeds())
    return graphs.answer(graphs.session(folder / "int8.onnx"))({"images": VALIDATION.images})


def loss(found):
    return float(nn.functional.cross_entropy(torch.from_numpy(found), torch.from_numpy(VALIDATION.labels)))


@pytest.mark.parametrize(
    ("module", "settings", "left"),
    [
        (resnet, {}, 0),
        (cnn, {}, 0),
        (torchvision, {"architecture": "mobilenet_v2"}, 0),
        (torchvision, {"architecture": "densenet121"}, 62),  # most of its norms stand before a convolution
        (torchvision, {"architecture": "shufflenet_v2_x0_5"}, 0),
        (mlp, {}, None),
    ],
)
def test_norms_are_folded_and_the_answers_stay(module, settings, left):
    inputs = ImageInputs(32, 32, 3, (0.5,) * 3, (0.25,) * 3)
    net = network.network(module, module.Config(**settings), inputs, THREE).net
    batch = torch.from_numpy(export.sample(inputs, 8))
    for _ in range(3):
        net.train()(batch)  # statistics of its own
    expected = net.eval()(batch).detach()
    count = sum(isinstance(part, _BatchNorm) for part in net.modules())
    fake_int8.fold(net)
    assert sum(isinstance(part, _BatchNorm) for part in net.modules()) == (count if left is None else left)
    torch.testing.assert_close(net.eval()(batch).detach(), expected, atol=1e-4, rtol=1e-3)
    assert all(parameter.requires_grad for parameter in net.parameters())


class Untraceable(nn.Module):
    def __init__(self, shared=False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        x = images.permute(0, 3, 1, 2).float() / 255
        if x.sum() > 0:  # depends on values
            x = x * 2
        return self.head(self.body(x).mean(dim=(2, 3)))


def test_of_a_net_that_cannot_be_traced_neighbours_are_folded():
    net = Untraceable()
    net.train()(torch.from_numpy(TRAIN.images[:16]))
    expected = outputs(net)
    fake_int8.fold(net)
    assert isinstance(net.body[1], nn.Identity) and isinstance(net.body[3], nn.BatchNorm2d)
    np.testing.assert_allclose(outputs(net), expected, atol=1e-5)


class Twice(nn.Module):
    """What the convolution answers is read beside the norm too, so that nothing may be folded into it."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, images):
        x = self.convolution(images.permute(0, 3, 1, 2).float() / 255)
        return self.head((self.norm(x) + x).mean(dim=(2, 3)))


def test_a_convolution_that_is_read_by_more_than_its_norm_is_left():
    net = Twice()
    expected = outputs(net)
    fake_int8.fold(net)
    assert isinstance(net.norm, nn.BatchNorm2d)
    np.testing.assert_allclose(outputs(net), expected, atol=1e-6)


@pytest.mark.parametrize("module", [resnet, cnn, textcnn, transformer])
def test_the_layers_are_those_that_static_int8_quantises(module, tmp_path):
    inputs = IMAGES if module.KIND == "image" else TextInputs(100, 12)
    net = network.network(module, module.Config(), inputs, THREE).net.eval()
    arrays = export.sample(inputs, 8)
    calibration = [{"images" if module.KIND == "image" else "ids": array[None]} for array in arrays]
    export.export(net, inputs, tmp_path / "fp32.onnx")
    fake_int8.prepare(net, calibration)
    looked_up = graphs.operators(tmp_path / "fp32.onnx").get("Gather", 0)
    assert len(faked(net)) == len(static_int8.quantisable(tmp_path / "fp32.onnx")) - looked_up


class Uneven(nn.Module):
    """Two channels have values 300 times those of the others, for which eight bits leave next to nothing.

    In fp32 the next layer's weights make up for it.
    """

    def __init__(self):
        super().__init__()
        sizes = ((1, 16, 2), (16, 32, 2), (32, 32, 1))
        layers = [
            nn.Sequential(nn.Conv2d(a, b, 3, s, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for a, b, s in sizes
        ]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(32, 3)

    def forward(self, images):
        return self.head(self.body((images.permute(0, 3, 1, 2).float() - 128) / 64).mean(dim=(2, 3)))

    def make_uneven(self):
        fake_int8.fold(self)
        with torch.no_grad():
            for (layer, *_), (after, *_) in pairwise(self.body):
                layer.weight[0] *= 300
                layer.bias[0] *= 300
                after.weight[:, 0] /= 300


@pytest.fixture(scope="module")
def uneven():
    torch.manual_seed(2)
    net = Uneven()
    fit(net, list(net.children()))
    net.make_uneven()
    return net


def away(found, expected):
    """In spreads of what is expected."""
    return float(np.abs(found - expected).mean() / expected.std())


def test_what_it_imitates_is_what_the_int8_graph_answers(uneven, tmp_path):
    """What is left are the values behind the last layer, which the graph also rounds."""
    served, fp32 = int8_outputs(uneven, tmp_path), outputs(uneven)
    net = fake_int8.prepare(copy.deepcopy(uneven), feeds())
    assert away(served, fp32) > 0.5
    assert away(outputs(net), served) < 0.05
    np.testing.assert_array_equal(outputs(fake_int8.finish(net)), fp32)


def test_gradients_reach_every_weight_and_steps_are_those_of_int8(trained):
    net, _ = prepared(trained)
    net.train()(torch.from_numpy(TRAIN.images[:16])).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
    layer = net.body.blocks[1][0]
    assert isinstance(layer, nn.Conv2d) and parametrize.is_parametrized(layer, "weight")
    steps = (layer.weight / (layer.weight.abs().flatten(1).amax(dim=1).view(-1, 1, 1, 1) / 127)).detach()
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_ranges_follow_training_and_stand_still_in_evaluation(trained):
    net, _ = prepared(trained)
    held = net.body.dense[1].get_submodule(fake_int8.RANGE)
    before = float(held.high)
    outputs(net)
    assert float(held.high) == before
    held.train()(torch.full((4, 512), 100.0))
    assert float(held.high) == pytest.approx(before + fake_int8.MOMENTUM * (100 - before))


def test_it_trains_in_the_loop_is_resumed_and_becomes_a_plain_net_again(trained, tmp_path):
    config = Config(epochs=2, batch_size=48, patience=10, optimizer=adamw.Config(learning_rate=1e-3))
    net, stages = prepared(trained)
    found = fit(net, stages, config)
    broken, parts = prepared(trained)
    with pytest.raises(loop.StoppedError):
        fit(broken, parts, config, tmp_path, **stopping([], 5))
    again, parts = prepared(trained)
    resumed = fit(again, parts, config, tmp_path)
    assert equal(found.state, resumed.state)
    before = outputs(net)
    plain = fake_int8.finish(net)
    assert not faked(plain) and not any(parametrize.is_parametrized(part) for part in plain.modules())
    assert not any(part._forward_pre_hooks for part in plain.modules())
    assert np.abs(outputs(plain) - before).max() > 0  # int8 is imitated no more
    folded = copy.deepcopy(trained.net)
    fake_int8.fold(folded)
    folded.load_state_dict(plain.state_dict())
    np.testing.assert_array_equal(outputs(folded), outputs(plain))


def test_after_it_int8_is_nearer_to_fp32_and_its_loss_lower(uneven, tmp_path):
    """Than after as many epochs from the same weights that knew nothing of int8."""
    config = Config(epochs=8, batch_size=16, patience=10, optimizer=adamw.Config(learning_rate=5e-4))
    control = copy.deepcopy(uneven)
    fit(control, list(control.children()), config)
    net = fake_int8.prepare(copy.deepcopy(uneven), feeds())
    fit(net, list(net.children()), config)
    learnt = fake_int8.finish(net)
    without = int8_outputs(control, tmp_path)
    served = int8_outputs(learnt, tmp_path)
    assert away(served, outputs(learnt)) < 0.8 * away(without, outputs(control))
    assert loss(served) < 0.9 * loss(without)
