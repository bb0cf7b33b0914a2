"""Which weights are trained, how fast, and which of them decay.

A network's stages are what its model's file calls so: modules from the input to the head, which is the last.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from pipeline.errors import ConfigError
from pipeline.fit.settings import Config, Freeze


def groups(net: nn.Module, stages: Sequence[nn.Module], config: Config, rate: float) -> list[dict[str, Any]]:
    """Parameters by their rate, as `base`, and by whether they decay.

    Norms, biases and embeddings, where decay only blurs, go without it. A stage's rate is `layer_decay` of that of the
    one after it; what is in no stage goes with the first.
    """
    kept = {id(p) for layer in net.modules() if isinstance(layer, nn.Embedding) for p in layer.parameters()}
    stage_of = {id(p): k for k, stage in enumerate(stages) for p in stage.parameters()}
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for p in net.parameters():
        stage = stage_of.get(id(p), 0) if config.layer_decay < 1 else 0
        found.setdefault((stage, p.ndim > 1 and id(p) not in kept), []).append(p)
    result = []
    for (stage, decayed), parameters in sorted(found.items(), key=lambda item: item[0]):
        base = rate * config.layer_decay ** (len(stages) - 1 - stage) if config.layer_decay < 1 else rate
        decay = config.optimizer.weight_decay if decayed else 0.0
        result.append({"params": parameters, "lr": base, "base": base, "weight_decay": decay, "decayed": decayed})
    return result


def frozen(freeze: Freeze, count: int, epoch: int) -> int:
    """How many of `count` stages, from the input on, are not trained in an epoch (from 0)."""
    if epoch < freeze.epochs:
        return count - 1
    return max(0, count - 2 - (epoch - freeze.epochs) // freeze.every) if freeze.epochs else 0


def require_stages(freeze: Freeze, stages: Sequence[nn.Module]) -> None:
    """Raises: ConfigError where all but the head is to be frozen, and there is nothing but a head."""
    if freeze.epochs and len(stages) < 2:
        raise ConfigError(
            f"train.freeze.epochs: found {freeze.epochs}, where the model is a head alone; expected 0; set it, or "
            "take another model"
        )


def freeze(stages: Sequence[nn.Module], count: int) -> None:
    """The first `count` stages keep their weights and their norms' statistics; all others are trained."""
    for k, stage in enumerate(stages):
        stage.requires_grad_(k >= count)
        if k < count:
            stage.eval()
