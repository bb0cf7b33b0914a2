"""What several models offer as fields: activations, norms and stochastic depth; and the weights that fit them.

B examples, C channels, H height, W width.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu"]
Normalisation = Literal["batch", "group", "layer", "none"]
GROUPS = 8  # of a group norm, where the channels can be dealt out so


def activation(name: Activation) -> nn.Module:
    made: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "leaky_relu": nn.LeakyReLU,
    }
    return made[name]()


def draw(weight: Tensor, name: Activation, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Normal weights that keep the spread of values through layers with this activation, after He et al.,
    arXiv 1502.01852: forwards by fan_in, of gradients by fan_out. Those of GELU and SiLU are ReLU's.
    """
    like: Any = "relu" if name in ("gelu", "silu") else name
    nn.init.kaiming_normal_(weight, a=nn.LeakyReLU().negative_slope, mode=mode, nonlinearity=like)


def normalisation(name: Normalisation, channels: int, *, maps: bool = True) -> nn.Module:
    """Of maps [B, C, H, W] or of vectors [B, C]. A group norm of one group is the layer norm of maps."""
    if name == "batch":
        return nn.BatchNorm2d(channels) if maps else nn.BatchNorm1d(channels)
    if name == "none":
        return nn.Identity()
    if name == "layer" and not maps:
        return nn.LayerNorm(channels)
    groups = next(count for count in range(GROUPS, 0, -1) if channels % count == 0) if name == "group" else 1
    return nn.GroupNorm(groups, channels)


class StochasticDepth(nn.Module):
    """Leaves a residual branch out for a share of the examples in training, after Huang et al., arXiv 1603.09382.

    The others' values are scaled up, so that the expected value is that of evaluation, which changes nothing.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        kept = torch.rand([len(x)] + [1] * (x.ndim - 1), device=x.device) >= self.share
        return x * kept / (1 - self.share)
