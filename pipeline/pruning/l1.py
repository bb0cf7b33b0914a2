"""Unstructured pruning: the smallest weights of the whole network become zero, after Han et al., arXiv 1506.02626.

Zeros are stored and multiplied like other numbers: a file gets no smaller and a model no faster by them, only easier
to pack into an archive. Taking whole channels out does both.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils import prune as masks
from torch.utils.hooks import RemovableHandle

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.RNNBase)
"""Embeddings stay: a rare word's row would go first, for its smallness alone."""


def prune(net: nn.Module, share: float) -> float:
    """Sets the smallest `share` of all weights to zero, in place, and returns the share of zeros reached.

    Weights are those of convolutions, linear and recurrent layers, without biases.
    """
    found = _weights(net)
    masks.global_unstructured(found, pruning_method=masks.L1Unstructured, amount=share)
    for layer, name in found:
        masks.remove(layer, name)
    weights = [layer.get_parameter(name) for layer, name in found]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)


def hold(net: nn.Module) -> list[RemovableHandle]:
    """Keeps what is zero at zero while the net is trained on, until the handles are removed."""
    weights = [layer.get_parameter(name) for layer, name in _weights(net)]
    return [weight.register_hook(_masked(weight.detach() != 0)) for weight in weights]


def _masked(kept: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * kept.to(gradient.device)


def _weights(net: nn.Module) -> list[tuple[nn.Module, str]]:
    """Layers and the names of their weights."""
    return [
        (layer, name)
        for layer in net.modules()
        if isinstance(layer, LAYERS)
        for name, weight in layer.named_parameters(recurse=False)
        if weight.ndim > 1
    ]
