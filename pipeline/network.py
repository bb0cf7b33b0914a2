"""A model of pipeline/models/ as the network that is trained, exported and loaded: raw arrays in, logits out.

B examples, H height, W width, C channels in pixels, T tokens, K classes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import batches, config
from pipeline.examples import ImageInputs, Split, TextInputs

Inputs = ImageInputs | TextInputs


class Normalised(nn.Module):
    """uint8 [B, H, W, C] → logits [B, K]: an image model with the statistics of its training pixels inside.

    The mean is a whole grey level: pixels are then integers with a zero point and a scale, which graphs read at once.
    """

    mean: Tensor  # [1, C, 1, 1], in 0..255
    std: Tensor

    def __init__(self, body: nn.Module, inputs: ImageInputs):
        super().__init__()
        self.body = body
        self.register_buffer("mean", (255 * torch.tensor(inputs.mean)).round().view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(inputs.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        return self.body((pixels - self.mean) / self.std)


def network(kind: str, module: ModuleType, settings: Any, inputs: Inputs, classes: Sequence[str]) -> nn.Module:
    """The network of a model's file: uint8 [B, H, W, C] or ids int64 [B, T] (0 = padding) → logits [B, K]."""
    body = module.build(settings, inputs=inputs, classes=len(classes))
    return Normalised(body, inputs) if kind == "image" and isinstance(inputs, ImageInputs) else body


def predict(
    net: nn.Module,
    split: Split,
    inputs: Inputs,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Probabilities float32 [N, K] in the split's order. The network is left in evaluation mode."""
    net.eval()
    rows_of = batches.by_length(split, inputs, batch_size)
    parts = []
    with torch.inference_mode():
        for rows in rows_of:
            arrays = torch.from_numpy(batches.read(split, rows, inputs)).to(device)
            parts.append(torch.softmax(net(arrays).float(), dim=1).cpu().numpy())
    result = np.empty((len(split), parts[0].shape[1]), np.float32)
    result[np.concatenate(rows_of)] = np.concatenate(parts)
    return result


def describe(name: str, settings: Any, inputs: Inputs, classes: Sequence[str]) -> dict[str, Any]:
    """What model.json needs so that `load` can build the same network."""
    kind = "image" if isinstance(inputs, ImageInputs) else "text"
    return {"name": name, "kind": kind, "config": asdict(settings), "inputs": asdict(inputs), "classes": list(classes)}


def load(folder: Path) -> tuple[nn.Module, Inputs, list[str]]:
    """The trained network of data/models/<task> in evaluation mode, what it reads, and its classes."""
    from safetensors.torch import load_file

    about = json.loads((folder / "model.json").read_text("utf-8"))
    module, settings = config.named("models", {"name": about["name"], **about["config"]}, f"{folder}/model.json")
    given: dict[str, Any] = about["inputs"]
    inputs: Inputs
    if about["kind"] == "image":
        inputs = ImageInputs(**given | {name: tuple(given[name]) for name in ("mean", "std")})
    else:
        inputs = TextInputs(**given)
    net = network(about["kind"], module, settings, inputs, about["classes"])
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    return net.eval(), inputs, about["classes"]
