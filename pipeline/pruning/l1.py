"""Unstructured pruning: the smallest weights of the whole network become zero, after Han et al., arXiv 1506.02626.

Zeros are stored and multiplied like other numbers: a file gets no smaller and a model no faster by them, only easier
to pack into an archive. Taking whole channels out does both.
"""

from torch import nn
from torch.nn.utils import prune as masks

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.RNNBase)
"""Embeddings stay: a rare word's row would go first, for its smallness alone."""


def prune(net: nn.Module, share: float) -> float:
    """Sets the smallest `share` of all weights to zero, in place, and returns the share of zeros reached.

    Weights are those of convolutions, linear and recurrent layers, without biases.
    """
    found = [
        (layer, name)
        for layer in net.modules()
        if isinstance(layer, LAYERS)
        for name, weight in layer.named_parameters(recurse=False)
        if weight.ndim > 1
    ]
    masks.global_unstructured(found, pruning_method=masks.L1Unstructured, amount=share)
    for layer, name in found:
        masks.remove(layer, name)
    weights = [layer.get_parameter(name) for layer, name in found]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)
