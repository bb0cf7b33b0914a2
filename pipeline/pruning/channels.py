"""The channels of an image network that hang together, by torch-pruning's dependency graph (arXiv 2301.12900).

A convolution's channels go with the norm behind it, with every layer that reads them and, in a residual stream, with
all others that write into it. B images, C channels, H height and W width in pixels.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models._units import Units

ROOTS = (nn.Conv2d, nn.Linear)


class UncutError(Exception):
    """What torch-pruning, or the network after it, says to a cut that breaks the network."""


def units(body: nn.Module, images: Tensor, head: nn.Module) -> list[Units]:
    """The groups of a network that reads float `images` [B, C, H, W]; what `head`, the last stage, answers stays.

    Raises: UncutError for a network that torch-pruning cannot read; so does a cut that breaks the network, such as one
    of the values of an attention.
    """
    import torch_pruning

    names = {module: name for name, module in body.named_modules()}
    answers = [module for module in head.modules() if isinstance(module, ROOTS)][-1:]
    with _refusing(), _quietly():
        graph = torch_pruning.DependencyGraph().build_dependency(body, images)
        groups = list(graph.get_all_groups(ignored_layers=answers, root_module_types=list(ROOTS)))
    scored = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None)

    def one(group: Any) -> Units:
        root = group[0].dep.target.module
        count = _count(root)

        def scores() -> Tensor:
            with _quietly():
                found: Tensor = scored(group)
            return found.detach().float().view(count, -1).sum(dim=1)

        def cut(kept: Tensor) -> None:
            with _refusing(), _quietly(), torch.no_grad():
                _remove(graph, root, kept)
                body.eval()(images)

        return Units(names.get(root, ""), "channels", count, scores, cut)

    order = list(names.values())
    return sorted(map(one, groups), key=lambda found: order.index(found.name))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever torch-pruning or the network's own code raises
        raise UncutError(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}") from error


def _count(layer: nn.Module) -> int:
    return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features  # type: ignore[return-value]


def _remove(graph: Any, root: nn.Module, kept: Tensor) -> None:
    """Takes the other output channels of `root` out, and all that hangs on them."""
    count = _count(root)
    gone = sorted(set(range(count)) - set(kept.tolist()))
    module = graph.get_pruner_of_module(root)
    group = graph.get_pruning_group(root, module.prune_out_channels, gone)
    if not graph.check_pruning_group(group):
        raise ValueError("a layer would lose all of its channels")
    group.prune()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch-pruning's warnings of parameters that it meets outside of layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
