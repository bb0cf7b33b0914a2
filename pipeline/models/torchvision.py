"""Any classification architecture of torchvision by its name, its weights drawn as there, with its own parameter names.

What differs: the first convolution reads grey images too, the head has the outputs asked for, norms' statistics follow
within tens of steps, and dropout and stochastic depth can be set. B images, C channels, H height and W width in pixels,
O outputs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import setting
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs
from pipeline.models._architectures import Architecture

KIND = "image"
DEEP = ("convnext", "efficientnet", "maxvit", "swin")
"""Families with stochastic depth."""
OPENED = ("features", "layers", "blocks", "trunk_output", "encoder", "classifier", "heads")
"""Names of the containers that hold an architecture's stages; other children are a stage each."""
NORMS = (nn.BatchNorm2d, nn.LayerNorm)
MOMENTUM = 0.1  # of a batch norm's statistics, at least: some have 0.0003, which takes ten thousand steps


@dataclass(frozen=True)
class Config:
    architecture: Architecture = "resnet18"
    dropout: float | None = setting(
        None, low=0, below=1, unit="of its dropout layers, or before the head where it has none; null: as published"
    )
    stochastic_depth: float | None = setting(
        None, low=0, below=1, unit="share of the examples that go around the last block; null: as published"
    )

    def __post_init__(self) -> None:
        if self.stochastic_depth is not None and not self.architecture.startswith(DEEP):
            raise ValueError(
                f"stochastic_depth: found {self.stochastic_depth} for {self.architecture}, which has none; expected "
                f"null, or an architecture of {', '.join(DEEP)}"
            )


class DroppedLinear(nn.Linear):
    """Leaves out a share of what it reads, [B, F] → [B, O]; its weights are those of `old`, and named as there."""

    def __init__(self, old: nn.Linear, dropout: float):
        super().__init__(old.in_features, old.out_features)
        self.weight, self.bias = old.weight, old.bias
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, self.dropout, self.training))


def build(config: Config, *, inputs: ImageInputs, outputs: int) -> nn.Module:
    """Raises: ConfigError for images of a size that the architecture cannot take."""
    from torchvision import models

    try:
        net = models.get_model(config.architecture, weights=None, num_classes=outputs, **_own(config, inputs))
        if inputs.channels != 3:
            _read(net, inputs.channels)
        _check(net, inputs)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model.architecture: found {config.architecture} for images of {inputs.width}×{inputs.height} pixels, "
            f"which it cannot take{_reason(config.architecture, error)}, or another architecture; 224×224 suits each: "
            "set prepare.side (features.input where prepare.fit is none)"
        ) from None
    _regularise(net, config)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None:
            layer.momentum = max(layer.momentum, MOMENTUM)
    if config.architecture.startswith("squeezenet"):
        net.classifier[2] = nn.Identity()  # a ReLU, behind which no logit or value could be negative
    return net


def require_size(config: Config, size: int, where: str) -> None:
    """Raises: ConfigError for images of so many pixels a side, where a vision transformer cannot cut them evenly.

    What the other architectures cannot take, `build` finds out.
    """
    if config.architecture.startswith("vit") and size % (patch := int(config.architecture.rpartition("_")[2])):
        raise ConfigError(
            f"{where}.architecture: found {config.architecture} for images of {size} pixels a side; expected a "
            f"multiple of {patch}, such as 224: set prepare.side (features.input where prepare.fit is none)"
        )


def _reason(architecture: str, error: Exception) -> str:
    """What of an image's size an architecture cannot take, and what it can."""
    if architecture.startswith("vit"):
        return f"; expected square ones of a multiple of {architecture.rpartition('_')[2]}, the pixels of its patches"
    if architecture.startswith("maxvit"):
        return "; expected square ones of a multiple of 224, which its windows of 7×7 part evenly at each scale"
    return f" ({' '.join(str(error).split())[:200]}); expected larger ones"


def _own(config: Config, inputs: ImageInputs) -> dict[str, Any]:
    """What only some architectures are given: the size of the images, and that there is no second head."""
    if config.architecture in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if config.architecture.startswith("vit"):
        return {"image_size": inputs.height}
    if config.architecture.startswith("maxvit"):
        return {"input_size": (inputs.height, inputs.width)}
    return {}


def _read(net: nn.Module, channels: int) -> None:
    """Another first convolution, which answers to a grey image as the old one to it as red, green and blue."""
    name, old = next((name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(dim=1, keepdim=True) / channels)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    net.set_submodule(name, new)


def _check(net: nn.Module, inputs: ImageInputs) -> None:
    """Raises what the net does for images of this size, without computing anything."""
    state = {name: value.to("meta") for name, value in net.state_dict().items()}
    images = torch.empty(2, inputs.channels, inputs.height, inputs.width, device="meta")
    with torch.inference_mode():
        torch.func.functional_call(net.eval(), state, images)
    net.train()


def _regularise(net: nn.Module, config: Config) -> None:
    """Sets dropout and stochastic depth, the latter in the proportions from block to block that it has."""
    from torchvision.ops import StochasticDepth

    if config.dropout is not None:
        dropouts = [layer for layer in net.modules() if isinstance(layer, nn.Dropout)]
        for layer in dropouts:
            layer.p = config.dropout
        head = stages(net)[-1]
        if not dropouts and isinstance(head, nn.Linear):
            name = next(name for name, layer in net.named_modules() if layer is head)
            net.set_submodule(name, DroppedLinear(head, config.dropout))
    if config.stochastic_depth is not None:
        ways = [layer for layer in net.modules() if isinstance(layer, StochasticDepth)]
        last = max(way.p for way in ways)
        for way in ways:
            way.p *= config.stochastic_depth / last


def stages(net: nn.Module) -> list[nn.Module]:
    """From the input to the head: the parts that have weights, a norm with what it follows.

    Weights that stand in no part, such as a ViT's positions, belong to the first.
    """
    parts: list[list[nn.Module]] = []
    for part in _opened(net):
        if isinstance(part, NORMS) and parts:
            parts[-1].append(part)
        elif any(True for _ in part.parameters()):
            parts.append([part])
    inside = {id(p) for group in parts for part in group for p in part.parameters()}
    outside = [p for p in net.parameters() if id(p) not in inside]
    if outside:
        parts[0].append(nn.ParameterList(outside))
    return [group[0] if len(group) == 1 else nn.ModuleList(group) for group in parts]


def _opened(net: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for name, child in net.named_children():
        found += _opened(child) if name in OPENED and next(child.children(), None) else [child]
    return found
