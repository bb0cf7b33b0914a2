"""From the states of a text's tokens to one of the text, in which padding never counts.

B texts, T tokens (0 is padding, behind all others), D values of a state.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.models import _units

Pooling = Literal["mean", "max", "attention"]


def lengths(ids: Tensor) -> Tensor:
    """How many tokens of each text count, int64 [B, 1].

    Of an empty text its first padding does, so that it has an answer, which more padding does not change.
    """
    places = torch.arange(ids.shape[1], device=ids.device)
    return torch.where(ids != 0, places + 1, 1).amax(dim=1, keepdim=True)


def real(ids: Tensor) -> Tensor:
    """Which tokens count, bool [B, T]."""
    return torch.arange(ids.shape[1], device=ids.device) < lengths(ids)


class Mean(nn.Module):
    """States [B, T, D] and which count, bool [B, T] → [B, D]."""

    def forward(self, states: Tensor, counted: Tensor) -> Tensor:
        shares = counted.to(states.dtype)
        return (shares.unsqueeze(1) @ states).squeeze(1) / shares.sum(dim=1, keepdim=True)


class Max(nn.Module):
    """States [B, T, D] and which count, bool [B, T] → [B, D]: padding is taken for the first token once more."""

    def forward(self, states: Tensor, counted: Tensor) -> Tensor:
        return torch.where(counted.unsqueeze(2), states, states[:, :1]).amax(dim=1)


class Attention(nn.Module):
    """A mean whose weights are learnt: softmax of v · tanh(W h + b), after Yang et al., NAACL 2016.

    States [B, T, D] and which count, bool [B, T] → [B, D].
    """

    def __init__(self, size: int):
        super().__init__()
        self.read = nn.Linear(size, size)
        self.asked = nn.Linear(size, 1, bias=False)

    def weights(self, states: Tensor, counted: Tensor) -> Tensor:
        """[B, 1, T], which sum to 1 over the tokens that count."""
        scores = self.asked(torch.tanh(self.read(states))).transpose(1, 2)
        return scores.masked_fill(~counted.unsqueeze(1), float("-inf")).softmax(dim=2)

    def forward(self, states: Tensor, counted: Tensor) -> Tensor:
        return (self.weights(states, counted) @ states).squeeze(1)


def pooling(name: Pooling, size: int) -> nn.Module:
    if name == "attention":
        return Attention(size)
    return Mean() if name == "mean" else Max()


def units(pooling: nn.Module) -> list[_units.Units]:
    """The values that attention computes of a state to weigh it by."""
    if not isinstance(pooling, Attention):
        return []
    return [_units.of("pooling", "units", pooling.read.out_features, lambda: _slices(pooling))]


def _slices(pooling: Attention) -> list[_units.Slice]:
    return _units.rows(pooling.read) + _units.columns(pooling.asked)
