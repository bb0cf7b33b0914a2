"""Which settings of training are for which kind of target, so that a check finds what does not fit before any work."""

from types import ModuleType

from pipeline import config as settings
from pipeline.errors import ConfigError
from pipeline.fit.settings import Config
from pipeline.targets import Kind

USUAL: dict[Kind, str] = {"classes": "cross_entropy", "labels": "binary_cross_entropy", "value": "mse"}


def loss(config: Config, kind: Kind, where: str = "train") -> ModuleType:
    """The file of the loss: the one that is asked for, or the kind's usual one. Raises: ConfigError."""
    name = config.loss.name if config.loss else USUAL[kind]
    module = settings.plugin("losses", name, f"{where}.loss.name")
    if kind not in module.TARGETS:
        raise ConfigError(
            f"{where}.loss.name: found {name!r}, which is for {' and '.join(module.TARGETS)}; expected one for a "
            f"target of kind {kind}, such as {USUAL[kind]}"
        )
    return module


def check(config: Config, kind: Kind, where: str = "train") -> None:
    """Raises: ConfigError for a loss, weights or a sampling that such a target has no use for."""
    loss(config, kind, where)
    if kind == "value" and config.class_weights != "none":
        raise ConfigError(
            f"{where}.class_weights: found {config.class_weights!r}; expected none: the target is a value, without "
            "classes; train.loss huber or mae gives large errors less weight"
        )
    if kind != "classes" and config.sampling != "natural":
        way = {
            "labels": "of several labels train.class_weights makes the rare ones count more",
            "value": "the target is a value, without classes; train.loss mse weighs far values more than mae does",
        }
        raise ConfigError(
            f"{where}.sampling: found {config.sampling!r}; expected natural: only examples of one class each are drawn "
            f"by class; {way[kind]}"
        )
