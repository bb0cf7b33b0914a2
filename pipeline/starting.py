"""A text network whose token embedding starts from the vectors of data/features/<task>.

V words of the vocabulary, D values of a vector.
"""

from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from torch import nn

from pipeline.config import parse
from pipeline.errors import ConfigError

FILE = "vectors.npy"


def embed(body: nn.Module, module: ModuleType, features: Path, vectors: Literal["off", "start", "fixed"]) -> None:
    """Fills the embedding that the model's `embedding` tells of; a fixed one is no parameter until `release`.

    Raises: ConfigError for a model without one, no vectors, or vectors of another length.
    """
    if vectors == "off":
        return
    name = module.__name__.rpartition(".")[2]
    if not hasattr(module, "embedding"):
        raise ConfigError(f"train.vectors: found {vectors}, where {name} has no embedding of tokens; expected off")
    if not (features / FILE).is_file():
        raise ConfigError(
            f"train.vectors: found {vectors}, but no {features / FILE}; expected off, or vectors; set "
            "features.vectors.file, or features.vectors.dimension to learn them on the train split"
        )
    layer = module.embedding(body)
    found = torch.from_numpy(np.load(features / FILE, allow_pickle=False))  # float32 [V, D]
    if found.shape != layer.weight.shape:
        raise ConfigError(
            f"train.vectors: {features / FILE} has {found.shape[1]} values a word ({found.shape[0]:,} words), where "
            f"{name} has model.{_length(module)} {layer.weight.shape[1]} ({layer.weight.shape[0]:,} words); expected "
            f"the same; {_way_out(module, found.shape[1])}"
        )
    with torch.no_grad():
        layer.weight.copy_(found)
        if layer.padding_idx is not None:
            layer.weight[layer.padding_idx] = 0
    if vectors == "fixed":
        kept = layer.weight.detach()
        del layer.weight
        layer.register_buffer("weight", kept)


def _length(module: ModuleType) -> str:
    """The setting of the model that is the length of its embedding."""
    return "embedding" if hasattr(module.Config, "embedding") else "width"


def _way_out(module: ModuleType, length: int) -> str:
    """Sets the model to the vectors' length, where it can be."""
    try:
        parse(module.Config, {_length(module): length}, "model")
    except ConfigError as error:
        return f"take vectors of another length, since {length} is none that the model has ({error})"
    return f"set model.{_length(module)}: {length}"


def release(body: nn.Module, module: ModuleType, vectors: Literal["off", "start", "fixed"]) -> None:
    """After training: a fixed embedding is a parameter again, to be counted and loaded like any other."""
    if vectors == "fixed":
        layer = module.embedding(body)
        kept = layer.weight
        del layer.weight
        layer.weight = nn.Parameter(kept)
