"""Inner values computed twice rather than kept: less memory for a third more of time, and the same weights bit by bit.

After Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def recompute(stages: Sequence[nn.Module]) -> None:
    """From now on these stages keep their inputs alone while they train; the backward pass computes the rest again."""
    for stage in parts(stages):
        stage.forward = functools.partial(_forward, stage, stage.forward)


def parts(stages: Sequence[nn.Module]) -> list[nn.Module]:
    """What of these stages is called and keeps more than its inputs.

    A list is never called itself, but what is in it; a single layer there, or an embedding, keeps its inputs at most.
    """
    found: list[nn.Module] = []
    for stage in stages:
        if isinstance(stage, nn.ModuleList):
            found += parts([part for part in stage if any(part.children())])
        elif not isinstance(stage, nn.Embedding):
            found.append(stage)
    return found


def _forward(stage: nn.Module, forward: Any, *inputs: Any, **named: Any) -> Any:
    if not (stage.training and torch.is_grad_enabled()):
        return forward(*inputs, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _counted_once(stage)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _counted_once(stage: nn.Module) -> Iterator[None]:
    """Norms within the block leave their running statistics as the first computation made them."""
    norms = [layer for layer in stage.modules() if isinstance(layer, _NormBase) and layer.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
