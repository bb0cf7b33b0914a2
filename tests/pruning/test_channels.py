"""Image networks lose channels with all that hangs on them, and keep what they answer."""

import copy
import importlib

import pytest
import torch
from torch import nn

from pipeline import network
from pipeline.examples import ImageInputs
from pipeline.pruning import channels, cutting
from pipeline.pruning.channels import UncutError
from pipeline.pruning.cutting import Part, Subject
from pipeline.targets import Target

INPUTS = ImageInputs(32, 32, 3, (0.5,) * 3, (0.25,) * 3)
ABC = Target("classes", ("a", "b", "c"))
NETS = {
    "resnet": ("resnet", {"width": 32}),
    "cnn": ("cnn", {"channels": (16, 32), "dense": 48}),
    "mobilenet": ("torchvision", {"architecture": "mobilenet_v3_small"}),
    "squeezenet": ("torchvision", {"architecture": "squeezenet1_1"}),
}
every = pytest.mark.parametrize("name", NETS)
few = pytest.mark.parametrize("name", ["resnet", "cnn"])


def built(name):
    model, settings = NETS[name]
    module = importlib.import_module(f"pipeline.models.{model}")
    torch.manual_seed(0)
    made = network.network(module, module.Config(**settings), INPUTS, ABC)
    made.net.eval()
    return made


def images(count=2):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def units(body, head):
    return channels.units(body, images(), head)


def of(made):
    return units(made.body, made.stages[-1])


def answers(body):
    with torch.inference_mode():
        return body.eval()(images(3))


def test_a_residual_streams_channels_are_one_group_and_a_blocks_own_another():
    found = of(built("resnet"))
    assert {one.name: one.count for one in found} == {
        "stem.0": 16,
        "blocks.0.body.0": 16,
        "blocks.0.around.0": 32,
        "blocks.1.body.0": 32,
        "blocks.1.around.0": 64,
        "blocks.2.body.0": 64,
        "blocks.2.around.0": 128,
        "blocks.3.body.0": 128,
    }
    assert {one.kind for one in found} == {"channels"} and {one.multiple for one in found} == {16}


def test_channels_are_cut_through_flattened_maps():
    found = of(built("cnn"))
    assert {one.name: one.count for one in found} == {"blocks.0.0": 16, "blocks.1.0": 32, "dense.1": 48}


@every
def test_half_of_each_group_leaves_a_network_that_answers_the_same_question(name):
    made = built(name)
    whole = sum(value.numel() for value in made.body.parameters())
    listed = of(made)
    assert len(listed) > 2
    for one in listed:
        found = {other.name: other for other in of(made)}
        assert list(found) == [other.name for other in listed]  # after each cut, under the same names
        assert found[one.name].count == one.count
        found[one.name].cut(torch.arange(0, one.count, 2))
    assert {o.name: o.count for o in of(made)} == {o.name: -(-o.count // 2) for o in listed}
    after = answers(made.body)
    assert after.shape == (3, 3) and after.isfinite().all()
    assert sum(value.numel() for value in made.body.parameters()) < 0.4 * whole
    roots = [part for part in made.stages[-1].modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    assert len(roots[-1].weight) == 3


@few
def test_channels_that_nothing_reads_are_cut_without_a_trace(name):
    """Whatever a convolution writes is zero for the dropped half, the norm behind it included."""
    made = built(name)
    for one in of(made):
        body = copy.deepcopy(made.body)
        head = body.get_submodule(_name(made, made.stages[-1]))
        dropped = torch.arange(1, one.count, 2)
        for part in _writers(body, one.name):
            with torch.no_grad():
                for value in part.parameters(recurse=False):
                    value[dropped] = 0
        before, (found,) = answers(body), [o for o in units(body, head) if o.name == one.name]
        found.cut(torch.arange(0, one.count, 2))
        torch.testing.assert_close(answers(body), before, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(answers(body), answers(made.body), atol=1e-3)


def _name(made, part):
    return next(name for name, other in made.body.named_modules() if other is part)


def _writers(body, name):
    """The layer of that name with its norm, and all that write into the same stream."""
    writes = {dep.target.module for dep, _ in _group(body, name) if dep.handler.__name__ == "prune_out_channels"}
    return [part for part in writes if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]


def _group(body, name, channel=0):
    import torch_pruning

    graph = torch_pruning.DependencyGraph().build_dependency(body, images())
    root = body.get_submodule(name)
    return graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, [channel])


@few
def test_a_channel_whose_weights_are_zero_is_the_least_important(name):
    made = built(name)
    for one in of(made):
        scores = one.scores()
        assert scores.shape == (one.count,) and scores.dtype is torch.float32 and (scores > 0).all()
        body = copy.deepcopy(made.body)
        head = body.get_submodule(_name(made, made.stages[-1]))
        for dep, places in _group(body, one.name, 5):
            with torch.no_grad():
                for value in dep.target.module.parameters(recurse=False):
                    if dep.handler.__name__ == "prune_out_channels":
                        value[places] = 0
                    elif value.ndim > 1:
                        value[:, places] = 0
        (found,) = [other for other in units(body, head) if other.name == one.name]
        assert found.scores().argmin() == 5


class Folded(nn.Module):
    """Its middle reads channels in an order of its own, which no dependency tells."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.middle = nn.Conv2d(32, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 48, 3, padding=1)
        self.head = nn.Linear(48, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = self.middle(x).view(x.shape[0], 8, 4, 32, 32).flip(2).reshape(x.shape[0], 32, 32, 32)
        return self.head(torch.relu(self.last(x)).mean(dim=(2, 3)))


def test_a_cut_that_breaks_the_network_is_refused_and_the_rest_is_cut():
    torch.manual_seed(0)
    net = Folded().eval()
    found = {one.name: one for one in units(net, net.head)}
    assert list(found) == ["first", "middle", "last"]
    broken = copy.deepcopy(net)
    middle = units(broken, broken.head)[1]
    with pytest.raises(UncutError, match=r"RuntimeError: shape '\[2, 8, 4, 32, 32\]'"):
        middle.cut(torch.arange(16))
    for name in ("first", "last"):
        {one.name: one for one in units(net, net.head)}[name].cut(torch.arange(found[name].count // 2))
    assert answers(net).shape == (3, 3) and net.first.out_channels == 16 and net.last.out_channels == 24


@pytest.mark.parametrize(
    ("architecture", "words"),
    [("shufflenet_v2_x0_5", "ZeroDivisionError: "), ("swin_t", "does not know how attention")],
)
def test_a_network_that_cannot_be_read_is_left_whole_and_named(architecture, words):
    module = importlib.import_module("pipeline.models.torchvision")
    settings = module.Config(architecture=architecture)
    made = network.network(module, settings, INPUTS, ABC)
    before = copy.deepcopy(made.net.state_dict())
    found, left = cutting.parts(Subject(module, settings, INPUTS, ABC, made))
    assert found == [] and left[""].startswith("not cut: ") and words in left[""]
    assert all(torch.equal(value, before[key]) for key, value in made.net.state_dict().items())


def test_a_search_for_groups_leaves_the_network_as_it_was():
    made = built("resnet")
    before, expected = copy.deepcopy(made.net.state_dict()), answers(made.body)
    for one in of(made):
        one.scores()
    assert all(torch.equal(value, before[key]) for key, value in made.net.state_dict().items())
    assert torch.equal(answers(made.body), expected) and not made.net.training
    assert all(value.requires_grad and value.grad is None for value in made.net.parameters())


@pytest.mark.parametrize(
    ("count", "ratio", "kept"),
    [(32, 0.5, 16), (64, 0.25, 48), (64, 0.75, 16), (16, 0.5, None), (24, 0.5, 16), (24, 0.25, 16), (32, 0.25, None)],
)
def test_widths_stay_multiples_of_16(count, ratio, kept):
    """24 cannot be halved, nor 32 cut by a quarter."""
    assert Part("x", "channels", count, 16).kept(ratio) == kept


def test_heads_and_layers_are_counted_one_by_one():
    assert Part("x", "heads", 4, 1).kept(0.75) == 1
    assert Part("x", "layers", 1, 1).kept(0.5) is None
