"""The channels of an image network that hang together, by torch-pruning's dependency graph (arXiv 2301.12900).

A convolution's channels go with the norm behind it, with every layer that reads them and, in a residual stream, with
all others that write into it. B images, C channels, H height and W width in pixels.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models._units import Units

ROOTS = (nn.Conv2d, nn.Linear)
PLACES = 1_000_000
"""Values of flattened maps that may hang on a group; a thousand channels of 28×28 pixels are fewer."""


def units(
    body: nn.Module, images: Tensor, head: nn.Module, *, tried: bool = False
) -> tuple[list[Units], dict[str, str]]:
    """The groups of a network that reads float `images` [B, C, H, W], and by name those left alone with the reason.

    Outputs of `head`, the last stage, are what the network answers and stay. A group that cannot be halved without
    breaking the network, such as the values of an attention, is left; where no dependencies can be found, the whole
    network is. tried: each group was found to be possible before, and is not tried again.
    """
    import torch_pruning

    names = {module: name for name, module in body.named_modules()}
    answers = [module for module in head.modules() if isinstance(module, ROOTS)][-1:]
    try:
        with _quietly():
            graph = torch_pruning.DependencyGraph().build_dependency(body, images)
            groups = list(graph.get_all_groups(ignored_layers=answers, root_module_types=list(ROOTS)))
    except Exception as error:  # noqa: BLE001 - whatever torch-pruning or the network's own code says to it
        return [], {"": _reason(error)}
    scored = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None)
    found, left = [], {}
    for group in groups:
        root = group[0].dep.target.module
        name = names.get(root, "")
        try:
            if not tried:
                _try(body, images, name)
        except Exception as error:  # noqa: BLE001 - likewise
            left[name] = _reason(error)
            continue
        found.append(_group(graph, group, root, name, scored))
    return sorted(found, key=lambda one: list(names.values()).index(one.name)), left


def _reason(error: Exception) -> str:
    return f"not cut: {type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _group(graph: Any, group: Any, root: nn.Module, name: str, scored: Any) -> Units:
    count = _count(root)

    def scores() -> Tensor:
        with _quietly():
            found: Tensor = scored(group)
        return found.detach().float().view(count, -1).sum(dim=1)

    def cut(kept: Tensor) -> None:
        with _quietly():
            _remove(graph, root, kept)

    return Units(name, "channels", count, scores, cut)


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


def _try(body: nn.Module, images: Tensor, name: str) -> None:
    """Halves one group of a copy and runs it. Raises: whatever breaks."""
    import torch_pruning

    tried = copy.deepcopy(body)
    root = tried.get_submodule(name)
    with _quietly():
        graph = torch_pruning.DependencyGraph().build_dependency(tried, images)
        _remove(graph, root, torch.arange(max(1, _count(root) // 2)))
        with torch.inference_mode():
            tried.eval()(images)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch-pruning's warnings of parameters that it meets outside of layers; with an end to its reshapes.

    Windows of attention, as Swin has them, multiply the places that it follows at each layer, until memory ends.
    """
    from torch_pruning.dependency import index_mapping

    flatten: Any = index_mapping._FlattenIndexMapping
    follow = flatten.__call__

    def bounded(mapping: Any, places: Sequence[Any]) -> Any:
        if not mapping.reverse and len(places) * mapping._stride > PLACES:
            raise ValueError(f"over {PLACES:,} places hang on one group of channels")
        return follow(mapping, places)

    flatten.__call__ = bounded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        flatten.__call__ = follow
