"""What an image network needs of the train split alone: the mean and deviation of each channel.

N images, H height, W width, C channels in pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts, prepared
from pipeline.errors import DataError
from pipeline.examples import ImageInputs, Split
from pipeline.store import Store

CHUNK = 256


@dataclass(frozen=True)
class Config:
    pass


def statistics(images: np.ndarray | Store) -> dict[str, list[float]]:
    """Mean and deviation [C] of uint8 [N, H, W, C], in 0..1; from histograms, so exact at any N and flat in memory."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), CHUNK):
        part = np.asarray(images[start : start + CHUNK])
        for channel in range(channels):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1))
    return {"mean": mean.tolist(), "std": np.maximum(std, 1 / 255).tolist()}


def featurize(folder: Path, out: Path, config: Config) -> dict[str, Any]:
    """Writes statistics.json and returns it. Raises: DataError for an empty train split."""
    images = prepared.images(folder, "train")
    if not len(images):
        raise DataError(f"{folder}: the train split is empty; expected images; see the quarantine's reasons")
    found = statistics(images)
    artifacts.write_json(out / "statistics.json", found)
    return found


def inputs(folder: Path, features: Path) -> ImageInputs:
    """What the network reads."""
    _, height, width, channels = prepared.images(folder, "train").shape
    found = artifacts.read_json(features / "statistics.json")
    return ImageInputs(height, width, channels, tuple(found["mean"]), tuple(found["std"]))


def load(folder: Path, features: Path, split: str) -> Split:
    """One split, its images memory-mapped."""
    return Split(
        labels=prepared.labels(folder, split),
        targets=prepared.targets(folder, split),
        images=prepared.images(folder, split),
    )
