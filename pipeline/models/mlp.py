"""A multi-layer perceptron over all pixels at once: the network to compare others with, which sees no neighbourhood.

B images, C channels, H height and W width in pixels, O outputs.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.config import setting
from pipeline.examples import ImageInputs
from pipeline.models._layers import Activation, Normalisation, activation, draw, normalisation

KIND = "image"


@dataclass(frozen=True)
class Config:
    widths: tuple[int, ...] = setting((256, 128), low=1, high=65_536, unit="values of each hidden layer; [] has none")
    activation: Activation = "relu"
    normalisation: Normalisation = "layer"
    dropout: float = setting(0.2, low=0, below=1)


class MLP(nn.Module):
    """float32 [B, C, H, W], normalised → outputs [B, O]."""

    def __init__(self, config: Config, inputs: ImageInputs, outputs: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = inputs.channels * inputs.height * inputs.width
        for width in config.widths:
            matrix = nn.Linear(before, width)
            draw(matrix.weight, config.activation)
            nn.init.zeros_(matrix.bias)
            norm = normalisation(config.normalisation, width, maps=False)
            layers.append(nn.Sequential(matrix, norm, activation(config.activation), nn.Dropout(config.dropout)))
            before = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(before, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images.flatten(1)))


def build(config: Config, *, inputs: ImageInputs, outputs: int) -> nn.Module:
    return MLP(config, inputs, outputs)


def stages(net: MLP) -> list[nn.Module]:
    """From the input to the head."""
    return [*net.layers, net.head]
