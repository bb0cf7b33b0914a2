"""What a teacher answers to the train split as it is, without augmentation: read from a file, or asked of a model.

N examples, O outputs.
"""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline import artifacts, prepared
from pipeline.errors import ConfigError, DataError
from pipeline.fit import distilling
from pipeline.initial.pins import Pin, unchanged
from pipeline.initial.settings import REGISTERED
from pipeline.targets import Target
from pipeline.tracking import store


def answers(pin: Pin, folder: Path, kind: str, count: int, target: Target, kept: Path) -> np.ndarray:
    """float32 [N, O] in the order of the train split of `folder`, data/prepared/<task>.

    Raises: DataError, ConfigError, RegistryError.
    """
    if not REGISTERED.fullmatch(pin.place):
        return distilling.require(_read(unchanged(pin)), count, target, pin.place)
    ask(pin, folder, kind, target, kept)
    return distilling.require(_read(kept), count, target, pin.place)


def ask(
    pin: Pin, folder: Path, kind: str, target: Target, kept: Path, stop: Callable[[], bool] = lambda: False
) -> None:
    """Writes to the file `kept` what a registered model answers, where that is not there yet: once a run.

    Raises: ConfigError, RegistryError, and StoppedError where `stop` says so.
    """
    if kept.is_file() or not REGISTERED.fullmatch(pin.place):
        return
    with store.locked("teacher"):
        if not kept.is_file():
            found = _asked(pin, folder, kind, target, stop)
            with artifacts.whole(kept) as building, building.open("wb") as file:
                np.save(file, found)


def _read(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read ({line}); expected one array as numpy.save writes it") from None
    return found


def _asked(pin: Pin, folder: Path, kind: str, target: Target, stop: Callable[[], bool]) -> np.ndarray:
    from pipeline.tracking import teacher, trained

    trained.require(pin.place, pin.sha256)
    names, found = teacher.ask(pin.place, _inputs(folder, kind), stop)
    if target.kind == "value":
        return found
    if set(names) != set(target.names):
        raise ConfigError(
            f"train.teacher.model: {pin.place} answers {', '.join(names)}; expected the task's own "
            f"{', '.join(target.names)}; name a model of the same classes"
        )
    return found[:, [names.index(name) for name in target.names]]


def _inputs(folder: Path, kind: str) -> Iterator[str]:
    """What a user would send: the cleaned texts, or the images as files in base64, in the split's order.

    The teacher prepares them in its own way, to its own size and with its own words.
    """
    if kind == "text":
        yield from prepared.cleaned(folder, "train")
        return
    from PIL import Image

    images = prepared.images(folder, "train")
    for row in range(len(images)):
        pixels = np.asarray(images[row])
        buffer = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=1)
        yield base64.b64encode(buffer.getvalue()).decode()
