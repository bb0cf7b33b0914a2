"""What rnn, lstm and gru share: embeddings, layers that read a text in one or both directions, and a pooling.

Rows of a batch are padded and masked, not packed, which is twice as slow on batches of similar length. Backwards, each
text is turned within its own length, so that padding stays behind it and is never read before a token.
B texts, T tokens (0 is padding), E embedding, D values of a state of all directions, O outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.config import setting
from pipeline.examples import TextInputs
from pipeline.models import _pooling, _units

Cells = Callable[[int, int], nn.RNNBase]
"""Makes one layer that reads [B, T, values] in one direction: from their number and that of a state's values."""
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,), "RNN_RELU": (0,)}
"""By a layer's mode: the order in which ONNX has the gates, by their places in PyTorch's."""


@dataclass(frozen=True)
class Config:
    embedding: int = setting(128, low=1, high=4096, unit="values a token")
    width: int = setting(64, low=1, high=4096, unit="values of a state, a direction")
    layers: int = setting(1, low=1, high=16)
    directions: Literal["one", "both"] = "both"
    pooling: Literal["last", "mean", "max", "attention"] = "attention"
    dropout: float = setting(0.5, low=0, below=1)


class Layer(nn.Module):
    """[B, T, values] → states [B, T, D]; `turned` int64 [B, T] has the place of each token read backwards."""

    def __init__(self, cells: Cells, before: int, width: int, directions: Literal["one", "both"]):
        super().__init__()
        self.ahead = cells(before, width)
        self.back = cells(before, width) if directions == "both" else None

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        states: Tensor = self.ahead(x)[0]
        if self.back is None:
            return states
        return torch.cat([states, _taken(self.back(_taken(x, turned))[0], turned)], dim=2)


class Last(nn.Module):
    """States [B, T, D] and which count → each direction's state at the token that it reads last, [B, D]."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, states: Tensor, counted: Tensor) -> Tensor:
        last = counted.sum(dim=1, keepdim=True) - 1
        ahead, back = states[..., : self.width], states[..., self.width :]
        return torch.cat([_taken(ahead, last)[:, 0], back[:, 0]], dim=1)


class Recurrent(nn.Module):
    """ids int64 [B, T] → outputs [B, O]."""

    def __init__(self, config: Config, inputs: TextInputs, outputs: int, cells: Cells):
        super().__init__()
        self.embedding = nn.Embedding(inputs.vocabulary, config.embedding, padding_idx=0)
        size = config.width * (2 if config.directions == "both" else 1)
        self.layers = nn.ModuleList(
            Layer(cells, size if k else config.embedding, config.width, config.directions) for k in range(config.layers)
        )
        name = config.pooling
        self.pooling = Last(config.width) if name == "last" else _pooling.pooling(name, size)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(size, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        lengths = _pooling.lengths(ids)
        counted = places < lengths
        turned = torch.where(counted, lengths - 1 - places, places)
        x = self.embedding(ids)  # [B, T, E]
        if torch.onnx.is_in_onnx_export():
            x = _in_graph(self.layers, x, lengths)
        else:
            for layer in self.layers:
                x = layer(self.dropout(x), turned)  # [B, T, D]
        return self.head(self.dropout(self.pooling(x, counted)))


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """The tokens of [B, T, values] at the given places, int64 [B, t]: [B, t, values]."""
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


def _in_graph(layers: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, E] and each text's length, int64 [B, 1] → states of the last layer [B, T, D], by the graph's operators.

    Backwards, these turn each text within its own length. One does both directions, unless their widths differ.
    """
    x, lengths = x.transpose(0, 1), lengths.squeeze(1).int()
    for layer in layers:
        ahead, back = layer.ahead, layer.back
        if back is None:
            found = [_operator([ahead], "forward", x, lengths)]
        elif ahead.hidden_size == back.hidden_size:
            found = [_operator([ahead, back], "bidirectional", x, lengths)]
        else:
            found = [_operator([ahead], "forward", x, lengths), _operator([back], "reverse", x, lengths)]
        x = _joined(found, (0, 2, 1, 3))  # [T, B, D]
    return _joined(found, (2, 0, 1, 3))


def _joined(states: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """States of directions, [T, directions, B, width] each, in this order of axes and side by side."""
    return torch.cat([each.permute(*order).flatten(2) for each in states], dim=2)


def _operator(cells: Sequence[nn.RNNBase], direction: str, x: Tensor, lengths: Tensor) -> Tensor:
    """[T, B, values] → states [T, directions, B, width], by the operator that is named here.

    PyTorch's exporter unrolls RNN, and the second of two LSTM layers, for one number of tokens.
    """
    operator, _, activation = cells[0].mode.partition("_")
    attributes: dict[str, Any] = {"hidden_size": cells[0].hidden_size, "direction": direction}
    attributes |= {"activations": [activation.capitalize()] * len(cells)} if activation else {}
    attributes |= {"linear_before_reset": 1} if operator == "GRU" else {}
    weights = [torch.stack(each) for each in zip(*map(_weights, cells), strict=True)]
    return torch.onnx.ops.symbolic(
        operator,
        [x, *weights, lengths],
        attributes,
        dtype=x.dtype,
        shape=(x.shape[0], len(cells), x.shape[1], cells[0].hidden_size),
    )


def _weights(cells: nn.RNNBase) -> tuple[Tensor, Tensor, Tensor]:
    """Of one direction, by ONNX's order of gates: of what is read, of the state before, and the biases of both."""
    named = [cells.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    read, kept, *biases = (_gates(weights, GATES[cells.mode]) for weights in named)
    return read, kept, torch.cat(biases)


def _gates(weights: Tensor, order: Sequence[int]) -> Tensor:
    parts = weights.chunk(len(order))
    return torch.cat([parts[k] for k in order])


def build(config: Config, inputs: TextInputs, outputs: int, cells: Cells) -> Recurrent:
    net = Recurrent(config, inputs, outputs, cells)
    with torch.no_grad():
        net.embedding.weight.normal_(std=0.1)
        net.embedding.weight[0] = 0
    return net


def stages(net: Recurrent) -> list[nn.Module]:
    """From the input to the head."""
    learnt = [net.pooling] if isinstance(net.pooling, _pooling.Attention) else []
    return [net.embedding, *net.layers, *learnt, net.head]


def embedding(net: Recurrent) -> nn.Embedding:
    return net.embedding


def units(net: Recurrent) -> list[_units.Units]:
    """The values of a state, of each layer and direction, and those that attention pooling computes."""

    layers: Any = net.layers

    def follow() -> None:
        if isinstance(net.pooling, Last):
            net.pooling.width = layers[-1].ahead.hidden_size

    found = []
    for k, layer in enumerate(layers):
        for name, cells in layer.named_children():
            slices = partial(_slices, net, k, name)
            found.append(_units.of(f"layers.{k}.{name}", "units", cells.hidden_size, slices, follow))
    return found + _pooling.units(net.pooling)


def _slices(net: Recurrent, k: int, name: str) -> list[_units.Slice]:
    """All weights of the units of one direction of a layer: their own, and those that read them."""
    layer: Any = net.layers[k]
    start = layer.ahead.hidden_size if name == "back" else 0
    if k + 1 < len(net.layers):
        following = [_units.Slice(after, "weight_ih_l0", 1, start) for after in net.layers[k + 1].children()]
    else:
        read = [net.pooling.read] if isinstance(net.pooling, _pooling.Attention) else []
        following = [some for after in (*read, net.head) for some in _units.columns(after, start)]
    return _units.states(layer.get_submodule(name)) + following


def narrow(net: Recurrent, basis: Tensor) -> None:
    """Embeddings of their values along the basis, [E, R], and a first layer that reads these."""
    for part, name in [(net.embedding, "weight"), *((cells, "weight_ih_l0") for cells in net.layers[0].children())]:
        _units.put(part, name, part.get_parameter(name) @ basis)
