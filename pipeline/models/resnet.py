"""A small residual network for images from 32 px up, by default with batch norms and ReLU, which int8 runs well.

After He et al., Deep Residual Learning (2015), with four stages, and the strides of the stem chosen by image size.
B images, C channels, H height and W width in pixels, O outputs.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.config import setting
from pipeline.examples import ImageInputs
from pipeline.models._layers import Activation, Normalisation, StochasticDepth, activation, draw, normalisation

KIND = "image"
Pooling = Literal["mean", "max", "generalised"]
STAGES = ((1, 1), (2, 2), (4, 2), (4, 1))
"""Channels, as a multiple of the width, and stride of each stage. The last keeps the size of its maps: what is small in
an image, such as a crack, is not to be averaged away."""
CUBE = 3
"""The power of generalised mean pooling, after Radenović et al., arXiv 1711.02512."""
LEAST = 1e-6
SMALLEST = 4
"""Pixels of a map's shorter side that are not halved any more: a norm needs more than one value."""


@dataclass(frozen=True)
class Config:
    width: int = setting(32, low=32, high=512, unit="channels of the first stage; a multiple of 32")
    blocks: int = setting(1, low=1, high=8, unit="residual blocks a stage")
    pooling: Pooling = "mean"  # of the last maps: generalised is between mean and max, for what is small in an image
    dropout: float = setting(0.2, low=0, below=1)
    activation: Activation = "relu"
    normalisation: Normalisation = "batch"
    stochastic_depth: float = setting(
        0.0, low=0, below=1, unit="share of the examples that go around the last block; around those before it, fewer"
    )

    def __post_init__(self) -> None:
        if self.width % 32:
            raise ValueError(
                f"width: found {self.width}; expected a multiple of 32: the stem has half, and int8 kernels want 16"
            )


class Block(nn.Module):
    """Two 3×3 convolutions and a way around them, [B, C, H, W] → [B, channels, H / stride, W / stride].

    The second one widens: half the products of widening in the first, at the same depth.
    """

    def __init__(self, config: Config, before: int, channels: int, stride: int, left_out: float):
        super().__init__()
        bias = config.normalisation == "none"
        self.body = nn.Sequential(
            nn.Conv2d(before, before, 3, stride, padding=1, bias=bias),
            normalisation(config.normalisation, before),
            activation(config.activation),
            nn.Conv2d(before, channels, 3, padding=1, bias=bias),
            normalisation(config.normalisation, channels),
        )
        self.around = nn.Sequential()
        if stride > 1 or before != channels:
            self.around = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=bias),
                normalisation(config.normalisation, channels),
            )
        self.depth = StochasticDepth(left_out)
        self.activation = activation(config.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.depth(self.body(x)) + self.around(x))


class ResNet(nn.Module):
    """float32 [B, C, H, W], normalised → outputs [B, O]."""

    def __init__(self, config: Config, inputs: ImageInputs, outputs: int):
        super().__init__()
        side = min(inputs.height, inputs.width)
        strided, pooled = side >= 48, side >= 96
        width = config.width
        # No norm where maps are largest (the input is normalised already), and the activation after pooling: the same
        # answer as before it, where it rises, on a quarter of the values.
        self.stem = nn.Sequential(
            nn.Conv2d(inputs.channels, width // 2, 5, stride=2 if strided else 1, padding=2),
            nn.MaxPool2d(3, stride=2, padding=1) if pooled else nn.Identity(),
            activation(config.activation),
        )
        blocks: list[nn.Module] = []
        before = width // 2
        across = side >> (strided + pooled)  # pixels of a map's shorter side
        for multiple, stride in STAGES:
            stride = stride if across > SMALLEST else 1
            across = -(-across // stride)
            for k in range(config.blocks):
                left_out = config.stochastic_depth * (len(blocks) + 1) / (len(STAGES) * config.blocks)
                blocks.append(Block(config, before, multiple * width, stride if k == 0 else 1, left_out))
                before = multiple * width
        self.blocks = nn.Sequential(*blocks)
        self.pooling = config.pooling
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(before, outputs)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.stem(images))  # [B, 4 width, H / 16, W / 16] from 96 px up
        return self.head(self.dropout(self.pooled(maps)))

    def pooled(self, maps: Tensor) -> Tensor:
        """[B, C, H, W], where nothing is below 0 after a ReLU, → [B, C]."""
        if self.pooling == "mean":
            return maps.mean(dim=(2, 3))
        if self.pooling == "max":
            return maps.amax(dim=(2, 3))
        kept = maps.clamp(min=LEAST)  # whose root has a slope
        return (kept * kept * kept).mean(dim=(2, 3)) ** (1 / CUBE)


def build(config: Config, *, inputs: ImageInputs, outputs: int) -> nn.Module:
    net = ResNet(config, inputs, outputs)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            draw(layer.weight, config.activation, "fan_out")
    if config.normalisation == "none":  # else each block would double the variance of values
        with torch.no_grad():
            for name, weight in net.blocks.named_parameters():
                if name.endswith("body.3.weight"):
                    weight.div_(len(net.blocks) ** 0.5)
    return net


def stages(net: ResNet) -> list[nn.Module]:
    """From the input to the head."""
    return [net.stem, *net.blocks, net.head]
