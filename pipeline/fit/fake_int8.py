"""Training for int8: convolutions and linear layers read and hold what static_int8 will leave of their values.

Rounding passes gradients straight through, and what lies outside of a range none, after Jacob et al., arXiv 1712.05877.
Which layers, and how, is as in compression/static_int8.py: signed weights with a scale a channel, unsigned inputs with
one range a layer; but a large convolution over the pixels, which becomes int8 there, is left as it is here: what it
reads is exact. B examples, C channels that a layer writes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_weights, parametrize

from pipeline.compression._fp32 import FEW_CHANNELS, HEAD_SHARE

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
LAYERS = (*CONVOLUTIONS, nn.Linear)
UNTRACEABLE = (TypeError, ValueError, RuntimeError, AttributeError, KeyError)
"""What torch.fx raises for a network whose way depends on its values."""
RANGE = "fake_int8"
"""Under this name a layer has the range of its inputs."""
MOMENTUM = 0.1
"""Share of a batch's range in the moving one."""


class Channels(nn.Module):
    """Weights [C, …] → the same in steps of a 127th of each channel's largest."""

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs().flatten(1).amax(dim=1)
        scale = torch.where(largest > 0, largest / 127, 1.0)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


class Range(nn.Module):
    """What a layer reads, of any shape → the same in 256 steps; their range follows that of training's batches."""

    low: Tensor  # []
    high: Tensor

    def __init__(self, low: float, high: float):
        super().__init__()
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            for held, seen in zip((self.low, self.high), x.detach().float().aminmax()):
                held.lerp_(seen, MOMENTUM)
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = torch.where(high > low, (high - low) / 255, 1.0)
        zero = (-low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, 255).to(x.dtype)


def prepare(net: nn.Module, feeds: Sequence[Mapping[str, np.ndarray]]) -> nn.Module:
    """The trained `net`, changed in place: batch norms folded into convolutions, int8 imitated where it will be.

    feeds: calibration batches, each with the net's one input. Ask the model's file for the stages again: a norm that
    was folded is in none any more. Norms that no convolution can take in stay as they are.
    """
    net.eval()
    fold(net)
    for layer, (low, high) in _ranges(net, (torch.from_numpy(next(iter(feed.values()))) for feed in feeds)).items():
        layer.add_module(RANGE, Range(low, high))
        layer.register_forward_pre_hook(_read)
        parametrize.register_parametrization(layer, "weight", Channels())
    return net


def finish(net: nn.Module) -> nn.Module:
    """The net of `prepare`, changed in place: plain layers with the weights that they have learnt."""
    for layer in [layer for layer in net.modules() if isinstance(layer, LAYERS) and hasattr(layer, RANGE)]:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        delattr(layer, RANGE)
        hooks = layer._forward_pre_hooks
        for number in [number for number, hook in hooks.items() if hook is _read]:
            del hooks[number]
    return net


@dataclass(frozen=True)
class Pair:
    """A convolution and the batch norm that alone reads what it answers, by their names."""

    convolution: str
    norm: str
    bias: bool  # whether the convolution has one of its own


def pairs(net: nn.Module) -> list[Pair]:
    """What `fold` merges; norms that always norm by the batch are not among them."""
    if not any(isinstance(part, _BatchNorm) for part in net.modules()):
        return []
    found = []
    for before, name in _neighbours(net):
        convolution, norm = net.get_submodule(before), net.get_submodule(name)
        if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, _BatchNorm) and norm.running_var is not None:
            found.append(Pair(before, name, convolution.bias is not None))
    return found


def fold(net: nn.Module) -> None:
    """Merges each batch norm into the convolution whose values it alone reads; evaluation answers as before."""
    for pair in pairs(net):
        convolution, norm = net.get_submodule(pair.convolution), net.get_submodule(pair.norm)
        held = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *held)  # type: ignore[arg-type]
        convolution.weight, convolution.bias = weight, bias.requires_grad_()
        net.set_submodule(pair.norm, nn.Identity())


def unfold(net: nn.Module, folded: Sequence[Pair]) -> None:
    """Puts batch norms back that change nothing, so that the net has the modules and weights of its model's file.

    folded: what `pairs` said before `fold`. Evaluation answers as before, but for rounding.
    """
    for pair in folded:
        convolution = net.get_submodule(pair.convolution)
        assert isinstance(convolution, CONVOLUTIONS)
        norm = (nn.BatchNorm1d if isinstance(convolution, nn.Conv1d) else nn.BatchNorm2d)(convolution.out_channels)
        with torch.no_grad():
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
            if not pair.bias and convolution.bias is not None:
                norm.bias.copy_(convolution.bias)
                convolution.bias = None
        net.set_submodule(pair.norm, norm.eval())


def _neighbours(net: nn.Module) -> Iterable[tuple[str, str]]:
    """The names of modules, called once each, of which the second alone reads what the first answers.

    Where the network cannot be traced, those that stand one after the other in a Sequential.
    """
    try:
        calls = [node for node in fx.symbolic_trace(net).graph.nodes if node.op == "call_module"]
    except UNTRACEABLE:
        listed = [(name, part) for name, part in net.named_modules() if isinstance(part, nn.Sequential)]
        return [
            (f"{name}.{a}".lstrip("."), f"{name}.{b}".lstrip(".")) for name, part in listed for a, b in _steps(part)
        ]
    targets = [node.target for node in calls]
    once = {node for node in calls if targets.count(node.target) == 1}
    return [
        (node.args[0].target, node.target)
        for node in calls
        if node in once and node.args and node.args[0] in once and len(node.args[0].users) == 1
    ]


def _steps(part: nn.Sequential) -> Iterable[tuple[str, str]]:
    return pairwise(name for name, _ in part.named_children())


def _ranges(net: nn.Module, batches: Iterable[Tensor]) -> dict[nn.Module, tuple[float, float]]:
    """What the layers that become int8 read of these batches, at least and at most, by the layer."""
    found: dict[nn.Module, tuple[float, float]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        low, high = found.pop(layer, (0.0, 0.0))  # so that the last one called is the last
        least, most = inputs[0].aminmax()
        found[layer] = min(low, float(least)), max(high, float(most))

    hooks = [layer.register_forward_pre_hook(note) for layer in net.modules() if isinstance(layer, LAYERS)]
    with torch.inference_mode():
        for batch in batches:
            net(batch)
    for hook in hooks:
        hook.remove()
    every = sum(parameter.numel() for parameter in net.parameters())
    last = next(reversed(found), None)
    return {layer: found[layer] for layer in found if not _stays_fp32(layer, every, last=layer is last)}


def _stays_fp32(layer: nn.Module, every: int, *, last: bool) -> bool:
    """Whether static_int8 leaves it as it is, by its channels or its share of `every` parameter."""
    if isinstance(layer, CONVOLUTIONS):
        return layer.in_channels <= FEW_CHANNELS
    return last and sum(parameter.numel() for parameter in layer.parameters()) <= HEAD_SHARE * every


def _read(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (layer.get_submodule(RANGE)(inputs[0]), *inputs[1:])
