"""Which settings of training are for which kind of target, so that a check finds what does not fit before any work."""

from collections.abc import Iterator
from types import ModuleType

from pipeline import config as settings
from pipeline.augmentation.settings import Images
from pipeline.errors import ConfigError
from pipeline.fit.settings import Config, Texts
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


def require(config: Config, kind: str, where: str) -> None:
    """Raises: ConfigError for settings of which one has no use for another, or that are not for such inputs."""
    found = next(_contradictions(config, kind), None)
    if found is not None:
        raise ConfigError(f"{where}.{found}")


def _contradictions(config: Config, kind: str) -> Iterator[str]:
    if config.precision == "fp16" and config.device == "cpu":
        yield "precision: found fp16 with device cpu; expected auto, fp32 or bf16"
    fused = settings.plugin("optimizers", config.optimizer.name, "train.optimizer.name").FUSED
    if config.fused == "on" and (not fused or (config.device != "auto" and config.device not in fused)):
        device = "" if config.device == "auto" else f" for {config.device}"
        yield f"fused: found on, and PyTorch has no fused {config.optimizer.name}{device}; expected auto or off"
    if isinstance(config.batch_size, int) and config.accumulate > config.batch_size:
        yield f"accumulate: found {config.accumulate}; expected at most batch_size ({config.batch_size}); lower it"
    for key, weights in (("class_weights", config.class_weights), ("sampling", config.sampling)):
        for name, weight in weights.items() if isinstance(weights, dict) else ():
            if not 0 < weight < 1e6:
                yield f"{key}.{name}: found {weight:g}; expected a number above 0 and below 1e6; correct it"
    if config.class_weights != "none" and config.sampling != "natural":
        yield (
            f"class_weights: found {config.class_weights!r} with sampling {config.sampling!r}, which would make up for "
            "the classes' sizes twice; expected none, or sampling natural; take one of the two"
        )
    if kind == "image" and config.texts != Texts():
        yield "texts: found shares; expected none: images have no words; train.images changes images"
    if kind == "text" and config.images != Images():
        yield "images: found changes; expected none: texts have no pixels; train.texts changes texts"
