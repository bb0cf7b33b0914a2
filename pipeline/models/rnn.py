"""A plain recurrent network over word embeddings, in one direction or both, after Elman (1990).

B texts, T tokens, E values of a token, D of a state.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.examples import TextInputs
from pipeline.models import _recurrent
from pipeline.models._recurrent import embedding, stages

__all__ = ["KIND", "Config", "build", "embedding", "stages"]
KIND = "text"


@dataclass(frozen=True)
class Config(_recurrent.Config):
    activation: Literal["tanh", "relu"] = "tanh"


class Cells(nn.RNN):
    """[B, T, E] → states [B, T, D] and the last of them.

    PyTorch's exporter knows the graph's operator for LSTM and GRU, and unrolls this one for one number of tokens: it is
    named here.
    """

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not torch.onnx.is_in_onnx_export():
            states, last = super().forward(x, hx)
            return states, last
        weights = [self.weight_ih_l0, self.weight_hh_l0, torch.cat([self.bias_ih_l0, self.bias_hh_l0])]
        states, last = torch.onnx.ops.symbolic_multi_out(
            "RNN",
            [x.transpose(0, 1), *(weight.unsqueeze(0) for weight in weights)],
            {"hidden_size": self.hidden_size, "activations": [self.nonlinearity.capitalize()]},
            dtypes=(x.dtype, x.dtype),
            shapes=((x.shape[1], 1, x.shape[0], self.hidden_size), (1, x.shape[0], self.hidden_size)),
        )
        return states.squeeze(1).transpose(0, 1), last


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    def cells(before: int, width: int) -> nn.Module:
        return Cells(before, width, nonlinearity=config.activation, batch_first=True)

    return _recurrent.build(config, inputs, outputs, cells)
