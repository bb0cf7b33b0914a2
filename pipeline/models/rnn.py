"""A plain recurrent network over word embeddings, in one direction or both, after Elman (1990)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from pipeline.examples import TextInputs
from pipeline.models import _recurrent
from pipeline.models._recurrent import embedding, narrow, stages, units

__all__ = ["KIND", "Config", "build", "embedding", "narrow", "stages", "units"]
KIND = "text"


@dataclass(frozen=True)
class Config(_recurrent.Config):
    activation: Literal["tanh", "relu"] = "tanh"


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    def cells(before: int, width: int) -> nn.RNNBase:
        return nn.RNN(before, width, nonlinearity=config.activation, batch_first=True)

    return _recurrent.build(config, inputs, outputs, cells)
