"""A transformer encoder with norms before each part, after Vaswani et al. (2017) and Xiong et al., arXiv 2002.04745.

B texts, T tokens (any number; 0 is padding), D width, A heads, O outputs.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import setting
from pipeline.examples import TextInputs
from pipeline.models import _pooling, _units
from pipeline.models._layers import Activation, StochasticDepth, activation

KIND = "text"
SLOWEST = 10_000.0  # tokens, over 2π, of a rotary position's longest wave


@dataclass(frozen=True)
class Config:
    width: int = setting(128, low=2, high=8192, unit="values a token; a multiple of heads, rotary of twice as many")
    layers: int = setting(2, low=1, high=48)
    heads: int = setting(4, low=1, high=128)
    expansion: int = setting(4, low=1, high=16, unit="times the width, between the two layers behind an attention")
    positions: Literal["learned", "rotary"] = "rotary"
    pooling: _pooling.Pooling = "mean"
    activation: Activation = "gelu"
    dropout: float = setting(0.3, low=0, below=1)
    stochastic_depth: float = setting(0.0, low=0, below=1, unit="share of examples the last layer leaves out")

    def __post_init__(self) -> None:
        multiple = self.heads * (2 if self.positions == "rotary" else 1)
        if self.width % multiple:
            raise ValueError(
                f"width: found {self.width}; expected a multiple of {multiple}, for {self.heads} heads with "
                f"{self.positions} positions"
            )


class Rotary(nn.Module):
    """Turns pairs of values by an angle that grows with the place, after Su et al., arXiv 2104.09864.

    [B, A, T, D / A] → the same shape; products of two of them then depend on how far apart their places are.
    """

    waves: Tensor  # [D / A / 2], radians a token

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("waves", SLOWEST ** -(torch.arange(0, size, 2) / size), persistent=False)

    def forward(self, *several: Tensor) -> list[Tensor]:
        places = torch.arange(several[0].shape[2], device=self.waves.device)
        angles = places.unsqueeze(1) * self.waves  # [T, D / A / 2]
        cosine, sine = angles.cos(), angles.sin()
        turned = []
        for x in several:
            first, second = x.chunk(2, dim=3)
            pairs = [first * cosine - second * sine, second * cosine + first * sine]
            turned.append(torch.cat(pairs, dim=3).to(x.dtype))
        return turned


class SelfAttention(nn.Module):
    """[B, T, D] and which tokens count, bool [B, T] → [B, T, D]."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads = config.heads
        self.read = nn.Linear(config.width, 3 * config.width)
        self.turn = Rotary(config.width // config.heads) if config.positions == "rotary" else None
        self.write = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        parts = self.read(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [3, B, A, T, D / A]
        query, key, value = parts.unbind(0)
        if self.turn is not None:
            query, key = self.turn(query, key)
        found = functional.scaled_dot_product_attention(query, key, value, counted[:, None, None, :])
        return self.write(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """[B, T, D] and which tokens count, bool [B, T] → [B, T, D]."""

    def __init__(self, config: Config, left_out: float):
        super().__init__()
        inner = config.expansion * config.width
        self.before_attention = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config)
        self.inner = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, inner),
            activation(config.activation),
            nn.Linear(inner, config.width),
        )
        self.after = nn.Sequential(nn.Dropout(config.dropout), StochasticDepth(left_out))

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        x = x + self.after(self.attention(self.before_attention(x), counted))
        return x + self.after(self.inner(x))


class Transformer(nn.Module):
    """ids int64 [B, T] → outputs [B, O]."""

    def __init__(self, config: Config, inputs: TextInputs, outputs: int):
        super().__init__()
        self.embedding = nn.Embedding(inputs.vocabulary, config.width, padding_idx=0)
        self.places = nn.Embedding(inputs.length, config.width) if config.positions == "learned" else None
        self.dropout = nn.Dropout(config.dropout)
        deepest = max(1, config.layers - 1)  # its share is the whole one, the first block's is none
        self.blocks = nn.ModuleList(Block(config, config.stochastic_depth * k / deepest) for k in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.pooling = _pooling.pooling(config.pooling, config.width)
        self.head = nn.Linear(config.width, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        counted = _pooling.real(ids)
        x = self.embedding(ids)  # [B, T, D]
        if self.places is not None:  # what lies behind the longest text is padding, whose place is of no account
            places = torch.arange(ids.shape[1], device=ids.device).clamp(max=self.places.num_embeddings - 1)
            x = x + self.places(places)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, counted)
        return self.head(self.dropout(self.pooling(self.norm(x), counted)))


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    net = Transformer(config, inputs, outputs)
    with torch.no_grad():
        net.embedding.weight.normal_(std=0.1)
        net.embedding.weight[0] = 0
        if net.places is not None:
            net.places.weight.normal_(std=0.02)
    return net


def stages(net: Transformer) -> list[nn.Module]:
    """From the input to the head."""
    first = [net.embedding] if net.places is None else [net.embedding, net.places]
    return [nn.ModuleList(first), *net.blocks, nn.ModuleList([net.norm, net.pooling]), net.head]


def embedding(net: Transformer) -> nn.Embedding:
    return net.embedding


def units(net: Transformer) -> list[_units.Units]:
    """Heads and inner units of each block, whole blocks, and the values that attention pooling computes."""
    found = []
    every: Any = net.blocks
    for k, block in enumerate(every):
        attention, (_, first, _, last) = block.attention, block.inner
        follow = partial(_follow, attention, attention.write.in_features // attention.heads)
        heads = _units.of(f"blocks.{k}.attention", "heads", attention.heads, partial(_heads, attention), follow)
        inner = _units.of(f"blocks.{k}.inner", "units", first.out_features, partial(_inner, first, last))
        found += [heads, inner]
    blocks = _units.Units("blocks", "layers", len(net.blocks), partial(_writing, net), partial(_keep, net))
    return [*found, blocks, *_pooling.units(net.pooling)]


def _heads(attention: SelfAttention) -> list[_units.Slice]:
    size = attention.write.in_features // attention.heads
    return _units.rows(attention.read, 3, size) + _units.columns(attention.write, each=size)


def _follow(attention: SelfAttention, size: int) -> None:
    attention.heads = attention.write.in_features // size


def _inner(first: nn.Linear, last: nn.Linear) -> list[_units.Slice]:
    return _units.rows(first) + _units.columns(last)


def _writing(net: Transformer) -> Tensor:
    """The norm of what each block adds its answers by, [layers]."""
    every: Any = net.blocks
    weights = [[block.attention.write.weight, block.inner[-1].weight] for block in every]
    return torch.stack([torch.cat([w.detach().float().flatten() for w in both]).norm() for both in weights])


def _keep(net: Transformer, kept: Tensor) -> None:
    net.blocks = nn.ModuleList([net.blocks[k] for k in kept.tolist()])
