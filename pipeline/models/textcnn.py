"""Convolutions over word embeddings and the maximum over time, after Kim, arXiv 1408.5882.

B texts, T tokens (any number; 0 is padding), E embedding, O outputs.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import setting
from pipeline.examples import TextInputs
from pipeline.models import _units
from pipeline.models._layers import Activation, activation

KIND = "text"


@dataclass(frozen=True)
class Config:
    embedding: int = setting(128, low=1, high=4096, unit="values a token")
    channels: int = setting(48, low=8, high=1024, unit="channels a kernel; a multiple of 16 is fast in int8")
    kernels: tuple[int, ...] = setting((1, 2, 3, 4, 5), low=1, high=15, unit="tokens")
    activation: Activation = "relu"
    dropout: float = setting(0.5, low=0, below=1)

    def __post_init__(self) -> None:
        if not self.kernels or len(set(self.kernels)) < len(self.kernels):
            raise ValueError(f"kernels: found {list(self.kernels)}; expected different numbers of tokens")


class TextCNN(nn.Module):
    """ids int64 [B, T] → outputs [B, O].

    A padding token's embedding is zero, as are the values that a convolution reads beyond the end. Each kernel
    also reads one window that lies wholly beyond the end, so what it answers there takes part in every text's
    maximum: padding adds only more of that window and never changes an answer, without a mask (which would take a
    third of an int8 graph's time), and a text may be shorter than the widest kernel.
    """

    def __init__(self, config: Config, inputs: TextInputs, outputs: int):
        super().__init__()
        self.embedding = nn.Embedding(inputs.vocabulary, config.embedding, padding_idx=0)
        self.embedding_dropout = nn.Dropout(config.dropout)
        self.kernels = config.kernels
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, config.channels, kernel) for kernel in config.kernels
        )
        self.activation = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.channels * len(config.kernels), outputs)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding_dropout(self.embedding(ids)).transpose(1, 2)  # [B, E, T]
        maxima = []
        for kernel, convolution in zip(self.kernels, self.convolutions, strict=True):
            longer = functional.pad(x, (0, kernel))  # [B, E, T + kernel]
            maxima.append(self.activation(convolution(longer)).amax(dim=2))  # over T + 1 windows
        return self.head(self.dropout(torch.cat(maxima, dim=1)))


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    net = TextCNN(config, inputs, outputs)
    with torch.no_grad():
        net.embedding.weight.normal_(std=0.1)  # N(0, 1), torch's default, costs ten points on short texts
        net.embedding.weight[0] = 0
    return net


def stages(net: TextCNN) -> list[nn.Module]:
    """From the input to the head."""
    return [net.embedding, net.convolutions, net.head]


def embedding(net: TextCNN) -> nn.Embedding:
    """Of the tokens, which train.vectors may fill."""
    return net.embedding


def units(net: TextCNN) -> list[_units.Units]:
    """The channels of each kernel."""
    convolutions: Any = net.convolutions
    return [
        _units.of(f"convolutions.{k}", "channels", convolution.out_channels, partial(_slices, net, k))
        for k, convolution in enumerate(convolutions)
    ]


def _slices(net: TextCNN, k: int) -> list[_units.Slice]:
    convolutions: Any = net.convolutions
    start = sum(before.out_channels for before in convolutions[:k])
    return _units.rows(convolutions[k]) + _units.columns(net.head, start)


def narrow(net: TextCNN, basis: Tensor) -> None:
    """Embeddings of their values along the basis, [E, R], and convolutions that read these."""
    _units.put(net.embedding, "weight", net.embedding.weight @ basis)
    for convolution in net.convolutions:
        weight = convolution.get_parameter("weight")  # [C, E, kernel]
        _units.put(convolution, "weight", torch.einsum("cek,er->crk", weight, basis))
