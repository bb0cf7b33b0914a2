"""The classic convolutional network: convolution and pooling, several times, then a dense layer, after LeCun et al.,
Gradient-Based Learning Applied to Document Recognition (1998).

B images, C channels, H height and W width in pixels, O outputs.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.config import setting
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.models._layers import Activation, Normalisation, activation, draw, normalisation

KIND = "image"


@dataclass(frozen=True)
class Config:
    channels: tuple[int, ...] = setting(
        (32, 64), low=1, high=4096, unit="channels of each block, which halves the maps"
    )
    kernel: int = setting(3, low=1, high=15, unit="pixels a side; odd")
    dense: int = setting(128, low=1, high=65_536, unit="values of the dense layer")
    activation: Activation = "relu"
    normalisation: Normalisation = "batch"
    dropout: float = setting(0.3, low=0, below=1, unit="before and after the dense layer")

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels: found none; expected a number for each block, such as [32, 64]")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: found {self.kernel}; expected an odd number, which has a middle")


class CNN(nn.Module):
    """float32 [B, C, H, W], normalised → outputs [B, O]."""

    def __init__(self, config: Config, inputs: ImageInputs, outputs: int):
        super().__init__()
        blocks: list[nn.Module] = []
        before = inputs.channels
        for channels in config.channels:
            # The activation after pooling: the same answer as before it, where it rises, on a quarter of the values.
            bias = config.normalisation == "none"
            convolution = nn.Conv2d(before, channels, config.kernel, padding=config.kernel // 2, bias=bias)
            norm = normalisation(config.normalisation, channels)
            blocks.append(nn.Sequential(convolution, norm, nn.MaxPool2d(2), activation(config.activation)))
            before = channels
        self.blocks = nn.Sequential(*blocks)
        height, width = inputs.height >> len(blocks), inputs.width >> len(blocks)
        self.dense = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(before * height * width, config.dense),
            activation(config.activation),
            nn.Dropout(config.dropout),
        )
        self.head = nn.Linear(config.dense, outputs)
        for layer in (*self.blocks.modules(), *self.dense):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                draw(layer.weight, config.activation)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(images)  # [B, channels of the last block, H / 2^blocks, W / 2^blocks]
        return self.head(self.dense(maps.flatten(1)))


def build(config: Config, *, inputs: ImageInputs, outputs: int) -> nn.Module:
    """Raises: ConfigError for more blocks than the images can be halved."""
    require_size(config, min(inputs.height, inputs.width))
    return CNN(config, inputs, outputs)


def require_size(config: Config, size: int, where: str = "model") -> None:
    """Raises: ConfigError for more blocks than images of so many pixels a side can be halved."""
    possible = size.bit_length() - 1
    if len(config.channels) > possible:
        raise ConfigError(
            f"{where}.channels: found {len(config.channels)} blocks, each of which halves the maps, for images of "
            f"{size} pixels on the shorter side; expected at most {possible}; take fewer, or larger images"
        )


def stages(net: CNN) -> list[nn.Module]:
    """From the input to the head."""
    return [*net.blocks, net.dense, net.head]
