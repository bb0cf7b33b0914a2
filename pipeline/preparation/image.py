"""Images as training reads them: uint8 [N, H, W, C] in one memory-mapped file a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import sides
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.features import decoding

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Config:
    size: int = setting(96, low=8, high=1024, unit="pixels a side")
    fit: Literal["crop", "pad", "stretch"] = "crop"
    channels: Literal["auto", "grey", "rgb"] = "auto"  # auto: grey where all train images are
    seed: int = setting(0, low=0, high=2**32 - 1)
    shares: tuple[float, ...] = sides.SHARES  # train, validation, test

    def __post_init__(self) -> None:
        sides.check(self.shares)


def write(
    examples: Mapping[str, "pd.DataFrame"], files: Path, out: Path, config: Config, validation: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes <split>.images.npy for each split's rows, and returns all that serving needs to repeat it.

    Raises: DataError when a file that validation accepted cannot be decoded.
    """
    import PIL

    grey = config.channels == "grey" or (config.channels == "auto" and bool((examples["train"]["channels"] == 1).all()))
    channels: decoding.Channels = "grey" if grey else "rgb"
    limits = decoding.Limits(bytes=validation["max_bytes"], pixels=validation["max_pixels"])
    for name, rows in examples.items():
        shape = (len(rows), config.size, config.size, 1 if grey else 3)
        # A file that is written page by page, so that memory does not grow with the data set.
        images = np.lib.format.open_memmap(out / f"{name}.images.npy", mode="w+", dtype=np.uint8, shape=shape)
        for number, path in enumerate(rows["path"]):
            images[number] = _pixels(files / path, limits, config, channels)
        images.flush()
    return {
        "size": config.size,
        "fit": config.fit,
        "channels": channels,
        "max_bytes": limits.bytes,
        "max_pixels": limits.pixels,
        "pillow": PIL.__version__,
    }


def _pixels(path: Path, limits: decoding.Limits, config: Config, channels: decoding.Channels) -> np.ndarray:
    try:
        decoded = decoding.decode(decoding.read(path, limits), limits)
    except decoding.Undecodable as error:
        raise DataError(f"{path}: validated, but now {error.reason}; expected an unchanged file; fetch again") from None
    return decoding.fit(decoded.image, config.size, config.fit, channels)
