"""Which engines graphs are measured and served in: files of pipeline/engines/, each with
`load(graph, threads) -> (a batch → outputs [B, O])` and `installed()`.
"""

from collections.abc import Sequence
from importlib import metadata
from types import ModuleType

from pipeline import config
from pipeline.errors import ConfigError

BY_DEVICE = {"cpu": ("onnxruntime", "openvino"), "cuda": ("onnxruntime_cuda",)}
"""The first always takes part: all others are held to its fp32 graph."""


def engine(name: str) -> ModuleType:
    return config.plugin("engines", name, "compress.engines")


def engines(asked: Sequence[str], device: str, where: str) -> list[str]:
    """The device's first engine, then those that are asked for, or with auto those that are installed.

    Raises: ConfigError for one that does not run on the device, or is not installed.
    """
    known = BY_DEVICE[device]
    for name in asked:
        if name != "auto" and name not in known:
            raise ConfigError(
                f"{where}: found {name!r}; expected auto, or of {', '.join(known)}, which run on {device}; correct it"
            )
    others = [name for name in known[1:] if name in asked or ("auto" in asked and engine(name).installed())]
    for name in (known[0], *others):
        require_installed(engine(name), name, where)
    return [known[0], *others]


def package(module: ModuleType) -> str:
    """The name under which an engine's package is installed here."""
    others = [name for name in getattr(module, "OTHERS", ()) if _installed(name)]
    return module.PACKAGE if _installed(module.PACKAGE) or not others else others[0]


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def require_installed(module: ModuleType, name: str, where: str) -> None:
    """module: an engine or a scheme that may lack its package. Raises: ConfigError where it does."""
    if not module.installed():
        raise ConfigError(f"{where}: found {name}, which is not installed here; expected it; {module.INSTALL}")
