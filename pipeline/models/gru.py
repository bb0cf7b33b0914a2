"""Gated recurrent units over word embeddings, in one direction or both, after Cho et al., arXiv 1406.1078."""

from dataclasses import dataclass

from torch import nn

from pipeline.examples import TextInputs
from pipeline.models import _recurrent
from pipeline.models._recurrent import embedding, narrow, stages, units

__all__ = ["KIND", "Config", "build", "embedding", "narrow", "stages", "units"]
KIND = "text"


@dataclass(frozen=True)
class Config(_recurrent.Config):
    pass


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    def cells(before: int, width: int) -> nn.RNNBase:
        return nn.GRU(before, width, batch_first=True)

    return _recurrent.build(config, inputs, outputs, cells)
