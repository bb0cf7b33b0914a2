"""Convolutions over word embeddings and the maximum over time, after Kim, arXiv 1408.5882.

B texts, T tokens (any number; 0 is padding), E embedding, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config import setting
from pipeline.examples import TextInputs

KIND = "text"


@dataclass(frozen=True)
class Config:
    embedding: int = setting(128, low=8, high=1024, unit="values a token")
    channels: int = setting(128, low=8, high=1024, unit="channels a kernel")
    kernels: tuple[int, ...] = setting((1, 3, 5), low=1, high=15, unit="tokens, odd")
    dropout: float = setting(0.5, low=0, below=1)

    def __post_init__(self) -> None:
        if not self.kernels or len(set(self.kernels)) < len(self.kernels) or any(k % 2 == 0 for k in self.kernels):
            raise ValueError(f"kernels: found {list(self.kernels)}; expected different odd numbers of tokens")


class TextCNN(nn.Module):
    """ids int64 [B, T] → logits [B, K].

    A padding token's embedding is zero, as are the values that a convolution reads beyond the edge, and
    what a convolution answers at a padding token is multiplied by zero: so padding never changes an answer,
    and a text may be shorter than the widest kernel.
    """

    def __init__(self, config: Config, inputs: TextInputs, classes: int):
        super().__init__()
        self.embedding = nn.Embedding(inputs.vocabulary, config.embedding, padding_idx=0)
        self.embedding_dropout = nn.Dropout(config.dropout)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, config.channels, kernel, padding=kernel // 2) for kernel in config.kernels
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.channels * len(config.kernels), classes)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).unsqueeze(1).float()  # [B, 1, T]
        x = self.embedding_dropout(self.embedding(ids)).transpose(1, 2)  # [B, E, T]
        maxima = [(torch.relu(convolution(x)) * real).amax(dim=2) for convolution in self.convolutions]
        return self.head(self.dropout(torch.cat(maxima, dim=1)))


def build(config: Config, *, inputs: TextInputs, classes: int) -> nn.Module:
    net = TextCNN(config, inputs, classes)
    with torch.no_grad():
        net.embedding.weight.normal_(std=0.1)  # N(0, 1), torch's default, costs ten points on short texts
        net.embedding.weight[0] = 0
    return net
