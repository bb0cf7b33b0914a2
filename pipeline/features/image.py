"""What an image network needs of the train split alone: the offset and scale of each channel.

N images, H height, W width, C channels in pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline import artifacts, prepared
from pipeline.config import setting
from pipeline.errors import ConfigError, DataError
from pipeline.examples import ImageInputs, Split
from pipeline.store import Ragged, Store

CHUNK = 256


Scaling = Literal["zscore", "minmax", "none"]


@dataclass(frozen=True)
class Config:
    scaling: Scaling = "zscore"  # minmax: the train pixels span 0..1; none: 0..1 is black to white
    input: int | None = setting(None, low=8, high=1024, unit="pixels a side, of images that keep their own sizes")


def statistics(images: np.ndarray | Store | Ragged, scaling: Scaling = "zscore") -> dict[str, list[float]]:
    """What is subtracted (`mean`) and divided by (`std`), [C], of pixels in 0..1.

    From histograms, so exact at any N and flat in memory.
    """
    channels = images.channels if isinstance(images, Ragged) else images.shape[-1]
    if scaling == "none":
        return {"mean": [0.0] * channels, "std": [1.0] * channels}
    counts = np.zeros((channels, 256), np.int64)
    for pixels in _chunks(images):
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    levels = np.arange(256) / 255
    if scaling == "minmax":
        held = [levels[some > 0] for some in counts]
        mean, std = np.array([some[0] for some in held]), np.array([some[-1] - some[0] for some in held])
    else:
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1))
    return {"mean": mean.tolist(), "std": np.maximum(std, 1 / 255).tolist()}


def _chunks(images: np.ndarray | Store | Ragged) -> Iterator[np.ndarray]:
    """Pixels uint8 [n, C], a part of the images at a time."""
    if isinstance(images, Ragged):
        step = CHUNK * 4096 * images.channels
        for flat in images.flats:
            for start in range(0, len(flat), step):
                yield flat[start : start + step].reshape(-1, images.channels)
        return
    for start in range(0, len(images), CHUNK):
        yield np.asarray(images[start : start + CHUNK]).reshape(-1, images.shape[-1])


def featurize(folder: Path, out: Path, config: Config) -> dict[str, Any]:
    """Writes statistics.json and returns it.

    Raises: DataError for an empty train split, ConfigError for an input size that lacks or has no use.
    """
    images = prepared.images(folder, "train")
    if not len(images):
        raise DataError(f"{folder}: the train split is empty; expected images; see the quarantine's reasons")
    found: dict[str, Any] = dict(statistics(images, config.scaling))
    if isinstance(images, Ragged) != (config.input is not None):
        kind = "their own sizes" if isinstance(images, Ragged) else "one size"
        wanted = "pixels a side" if isinstance(images, Ragged) else "null"
        raise ConfigError(
            f"features.input: found {config.input}; expected {wanted}, because prepare left images of {kind}"
        )
    if config.input is not None:
        found["input"] = config.input
    artifacts.write_json(out / "statistics.json", found)
    return found


def inputs(folder: Path, features: Path) -> ImageInputs:
    """What the network reads."""
    found = artifacts.read_json(features / "statistics.json")
    side, channels = found.get("input"), len(found["mean"])
    shape = artifacts.read_json(folder / "meta.json")["preparation"]["shape"]
    height, width = (side, side) if side else shape[:2]
    return ImageInputs(height, width, channels, tuple(found["mean"]), tuple(found["std"]))


def load(folder: Path, features: Path, split: str) -> Split:
    """One split, its images memory-mapped."""
    return Split(
        labels=prepared.labels(folder, split),
        targets=prepared.targets(folder, split),
        images=prepared.images(folder, split),
    )
