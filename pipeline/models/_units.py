"""What of a text network can be removed, and how: hidden units, channels, heads, layers; and narrower embeddings.

A model's file offers `units(net) -> list[Units]`, and `narrow(net, basis)` where its embedding can be made narrower.
V tokens, E values of an embedding, R of a narrower one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Kind = Literal["channels", "units", "heads", "layers"]
MULTIPLES: dict[Kind, int] = {"channels": 16, "units": 16, "heads": 1, "layers": 1}
"""By kind: what a number is best kept a multiple of, so that kernels are full."""


@dataclass(frozen=True)
class Units:
    """Parts of a network that can be removed one by one.

    A cut leaves the other groups of the same list right, unless it takes out the layer that they stand in. Its own
    group is spent: a further cut asks the model's file again.
    """

    name: str  # where they stand, such as "layers.0.ahead"; the same after every cut but that of layers
    kind: Kind
    count: int  # how many there are; at least one is kept
    scores: Callable[[], Tensor]  # importance of each, float32 [count]: the norm of all weights that go with it
    cut: Callable[[Tensor], None]  # keeps those of the given places, int64, rising; the others leave the network

    @property
    def multiple(self) -> int:
        return MULTIPLES[self.kind]


@dataclass(frozen=True)
class Slice:
    """Where the units of a group stand along one axis of a parameter."""

    part: nn.Module
    parameter: str
    axis: int = 0
    start: int = 0  # of the first unit
    repeats: int = 1  # how many times all units follow, one another's turn each: once a gate
    each: int = 1  # places of a unit

    def squares(self, count: int) -> Tensor:
        """The sum of the squares of each unit's weights, float32 [count]."""
        weights = self.part.get_parameter(self.parameter).detach().float()
        along = weights.square().transpose(0, self.axis).flatten(1).sum(1) if weights.ndim > 1 else weights.square()
        inside = along.narrow(0, self.start, self.repeats * count * self.each)
        return inside.view(self.repeats, count, self.each).sum(dim=(0, 2))

    def cut(self, kept: Tensor, count: int) -> None:
        weights = self.part.get_parameter(self.parameter)
        places = torch.arange(weights.shape[self.axis])
        end = self.start + self.repeats * count * self.each
        inside = places[self.start : end].view(self.repeats, count, self.each)[:, kept].flatten()
        left = torch.cat([places[: self.start], inside, places[end:]])
        put(self.part, self.parameter, weights.detach().index_select(self.axis, left.to(weights.device)))


def of(
    name: str,
    kind: Kind,
    count: int,
    slices: Callable[[], Sequence[Slice]],
    after: Callable[[], None] = lambda: None,
) -> Units:
    """The units of which the slices tell all weights; they are asked for anew, since other cuts may move them.

    `after` a cut, the network's own attributes follow.
    """

    def cut(kept: Tensor) -> None:
        assert len(kept) and (kept.diff() > 0).all(), "some are kept, in their order"
        for some in list(slices()):
            some.cut(kept.cpu(), count)
        after()

    return Units(name, kind, count, lambda: norms(slices(), count), cut)


def norms(slices: Sequence[Slice], count: int) -> Tensor:
    """Of all weights of each unit, float32 [count]."""
    return torch.stack([some.squares(count) for some in slices]).sum(dim=0).sqrt()


def rows(layer: nn.Linear | nn.Conv1d, repeats: int = 1, each: int = 1) -> list[Slice]:
    """What computes the units: rows of the weights and of the bias."""
    return [Slice(layer, name, 0, 0, repeats, each) for name, _ in layer.named_parameters(recurse=False)]


def columns(layer: nn.Linear, start: int = 0, each: int = 1) -> list[Slice]:
    """What reads the units."""
    return [Slice(layer, "weight", 1, start, 1, each)]


def states(cells: nn.RNNBase) -> list[Slice]:
    """What computes the units of a recurrent layer, rows of every gate, and what reads them at the next token."""
    gates = len(cells.get_parameter("weight_hh_l0")) // cells.hidden_size
    own = [Slice(cells, name, repeats=gates) for name, _ in cells.named_parameters(recurse=False)]
    return [*own, Slice(cells, "weight_hh_l0", 1)]


def put(part: nn.Module, parameter: str, values: Tensor) -> None:
    """Other values of another shape in place of a parameter; the widths that the layer names follow."""
    old = part.get_parameter(parameter)
    values = values.detach().clone(memory_format=torch.contiguous_format)  # as files want them
    setattr(part, parameter, nn.Parameter(values, requires_grad=old.requires_grad))
    if isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape
    elif isinstance(part, nn.Conv1d):
        part.out_channels, part.in_channels = part.weight.shape[:2]
    elif isinstance(part, nn.Embedding):
        part.num_embeddings, part.embedding_dim = part.weight.shape
    elif isinstance(part, nn.RNNBase):
        part.hidden_size, part.input_size = (part.get_parameter(f"weight_{side}_l0").shape[1] for side in ("hh", "ih"))


def basis(table: Tensor, counts: np.ndarray, rank: int) -> Tensor:
    """The directions that embeddings [V, E] lie in, orthonormal, [E, R]: the best ones for so many of each token.

    Of all tables of this rank, table @ basis @ basis.T is the nearest by the squares of its error, each row's times
    how often its token stands in the train split, `counts` [V]: singular vectors of rows times the root of that.
    """
    rows = table.detach().double() * torch.from_numpy(counts).to(table.device).double().sqrt().unsqueeze(1)
    _, directions = torch.linalg.eigh(rows.T @ rows)  # by rising eigenvalue, which are the singular values squared
    return directions[:, -rank:].flip(1).to(table.dtype)
