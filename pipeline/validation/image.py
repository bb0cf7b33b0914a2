"""What is measured of images, and what is expected of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import setting
from pipeline.expectations import Rule
from pipeline.features import decoding
from pipeline.near import images

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Config:
    min_side: int = setting(8, low=1, unit="pixels")
    max_pixels: int = setting(40_000_000, low=1, unit="pixels")  # decoded within 512 MB of memory
    max_bytes: int = setting(64 * 2**20, low=1, unit="bytes")
    max_undecodable: float = setting(0.1, low=0, high=1, unit="share of all images")  # more stop the task
    classes: tuple[str, ...] = ()  # the labels there may be; empty: whatever there is
    min_examples: int = setting(2, low=1, unit="images of each class")
    near_distance: int = setting(8, low=0, high=31, unit="bits of 64")
    near_correlation: float = setting(0.99, above=0, high=1)


def measure(manifest: "pd.DataFrame", files: Path, config: Config, scratch: Path) -> "pd.DataFrame":
    """The manifest with the columns that `rules` names; small grey copies go to scratch/greys.npy, uint8 [N, S, S].

    `content` is equal for equal contents. `undecodable` and `too_large` hold a reason, or null.
    """
    import pandas as pd

    limits = decoding.Limits(bytes=config.max_bytes, pixels=config.max_pixels)
    shape = (max(1, len(manifest)), images.GREY, images.GREY)
    greys = np.lib.format.open_memmap(scratch / "greys.npy", mode="w+", dtype=np.uint8, shape=shape)
    rows = []
    for number, (path, refused) in enumerate(zip(manifest["path"], manifest["refused"], strict=True)):
        rows.append({} if isinstance(refused, str) else _measure(files / path, limits, greys[number]))
    greys.flush()
    names = ["width", "height", "channels", "mode", "format", "conversions", "one_colour", "dhash"]
    names += ["undecodable", "too_large", "detail"]
    measured = pd.DataFrame(rows, columns=names, index=manifest.index)
    types = dict.fromkeys(("width", "height", "channels"), "Int64") | {"one_colour": "boolean"}
    text = {name: "str" for name in names if name not in types}
    return pd.concat([manifest, measured.astype(types | text)], axis=1).assign(content=manifest["sha256"])


def _measure(path: Path, limits: decoding.Limits, grey: np.ndarray) -> Mapping[str, Any]:
    try:
        decoded = decoding.decode(decoding.read(path, limits), limits)
    except decoding.Undecodable as error:
        column = "too_large" if error.reason.startswith("too many") else "undecodable"
        return {column: error.reason, "detail": f"{error.reason}: {error.detail}" if error.detail else error.reason}
    image = decoded.image
    grey[:] = images.grey(image)
    return {
        "width": image.width,
        "height": image.height,
        "channels": len(image.getbands()),
        "mode": decoded.mode,
        "format": decoded.format,
        "conversions": ",".join(decoded.conversions),
        "one_colour": decoded.one_colour,
        "dhash": f"{images.dhash(image):016x}",
    }


def rules(config: Config) -> list[Rule]:
    """In the order in which a row's reason is looked for."""
    share = f"{config.max_undecodable:.0%}"
    advice = f"at most {share} undecodable; repair the files at the source, or raise validate.max_undecodable"
    mostly = 1 - config.max_undecodable
    between = "ExpectColumnValuesToBeBetween"
    return [
        Rule("ExpectColumnValuesToBeNull", {"column": "too_large"}, reason="too_large"),
        Rule(
            "ExpectColumnValuesToBeNull", {"column": "undecodable", "mostly": mostly}, "critical", "undecodable", advice
        ),
        Rule(between, {"column": "width", "min_value": config.min_side}, reason="too_small"),
        Rule(between, {"column": "height", "min_value": config.min_side}, reason="too_small"),
        Rule("ExpectColumnValuesToBeInSet", {"column": "format", "value_set": list(decoding.FORMATS)}, "info"),
        Rule("ExpectColumnValuesToBeInSet", {"column": "mode", "value_set": ["L", "RGB"]}, "info"),
        Rule("ExpectColumnValuesToBeInSet", {"column": "one_colour", "value_set": [False]}, "warning"),
    ]


def neighbours(accepted: "pd.DataFrame", config: Config, scratch: Path) -> np.ndarray:
    """int64 [M, 2]: pairs of near duplicates, as positions in `accepted`, whose index counts rows of the manifest."""
    hashes = np.array([int(text, 16) for text in accepted["dhash"]], np.uint64)
    greys = np.load(scratch / "greys.npy", mmap_mode="r")
    rows = accepted.index.to_numpy()
    return images.neighbours(hashes, greys, rows, distance=config.near_distance, correlation=config.near_correlation)
