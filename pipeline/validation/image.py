"""What is measured of images, and what is expected of them."""

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops

from pipeline import artifacts, cache, workers
from pipeline.config import setting
from pipeline.expectations import Rule, Severity
from pipeline.features import colours, decoding, jpeg, reading
from pipeline.near import images
from pipeline.validation import _asked, _measured, _outliers, _rules
from pipeline.validation._labels import Labels
from pipeline.validation._outliers import Measure
from pipeline.validation._rules import BETWEEN, IN, NULL

if TYPE_CHECKING:
    import pandas as pd

SAME = "pixels"
"""The column in which equal contents are equal."""
MEASURES = (
    Measure("width"),
    Measure("height"),
    Measure("aspect"),
    Measure("brightness", log=False),
    Measure("contrast", log=False),
    Measure("sharpness"),
    Measure("bytes_per_pixel"),
)
COLUMNS = ("format", "mode", "channels", "one_colour", "conversions", *(measure.column for measure in MEASURES))
NAMES = ("too_large", "undecodable", "too_small", "format", "mode", "one_colour")
DECODERS = ("pillow", "simplejpeg")  # packages; with another version of one, all images are looked at again
BATCH = 100  # images that are worth a process of their own
STRIP = 256  # rows
SHARP = 1_000_000  # pixels of the copy whose sharpness is measured


@dataclass(frozen=True)
class Config:
    min_side: int = setting(8, low=1, unit="pixels")
    max_pixels: int = setting(40_000_000, low=1, unit="pixels")  # decoded within 512 MB of memory
    max_bytes: int = setting(64 * 2**20, low=1, unit="bytes")
    max_seconds: float = setting(5.0, above=0, unit="seconds an image may take")
    max_undecodable: float = setting(0.1, low=0, high=1, unit="share of all images")  # more stop the task
    classes: tuple[str, ...] = ()  # the labels there may be; empty: whatever there is
    labels: Labels = field(default_factory=Labels)
    min_value: float | None = setting(None)  # of a value, in its own unit
    max_value: float | None = setting(None)
    min_examples: int = setting(2, low=1, unit="images of each class")
    near_distance: int = setting(8, low=0, high=31, unit="bits of 64")
    near_correlation: float = setting(0.99, above=0, high=1)
    outliers: dict[str, _outliers.Action] = setting({})  # by measure; flagged where nothing is said
    outlier_fence: float = setting(5.0, above=0, unit="robust standard deviations from the median")
    max_drift: float = setting(0.25, above=0, unit="population stability index")
    severity: dict[str, Severity] = setting({})  # by rule
    tolerance: dict[str, float] = setting({}, low=0, high=1, unit="share of the rows that may break a rule")

    def __post_init__(self) -> None:
        measures = (*MEASURES, _asked.MEASURE)
        _outliers.check(self.outliers, measures)
        _rules.check(self.severity, self.tolerance, [*NAMES, *(f"outlier_{m.column}" for m in measures)])


def measure(manifest: "pd.DataFrame", files: Path, config: Config, scratch: Path) -> "pd.DataFrame":
    """The manifest with the columns that `rules` names; small grey copies go to scratch/greys.npy, uint8 [N, S, S].

    `pixels` is equal for equal pixels, whatever the file's format; `content` for equal files; `flat` for images of one
    colour, whatever their size. `undecodable` and `too_large` hold a reason, or null.
    """
    import pandas as pd

    shape = (max(1, len(manifest)), images.GREY, images.GREY)
    greys = artifacts.mapped(scratch / "greys.npy", np.uint8, shape)
    rows: list[Mapping[str, Any]] = [{}] * len(manifest)
    sound = np.flatnonzero(manifest["refused"].isna())
    for number, found in seen(manifest.iloc[sound], files, config):
        rows[sound[number]] = found
        if "grey" in found:
            greys[sound[number]] = np.frombuffer(found["grey"], np.uint8).reshape(shape[1:])
    whole, real = ["width", "height", "channels"], ["aspect", "brightness", "contrast", "sharpness"]
    text = ["mode", "format", "conversions", "dhash", "flat", "pixels", "undecodable", "too_large", "detail"]
    names = [*whole, *real, "one_colour", *text]
    table = pd.DataFrame([{name: row.get(name) for name in names} for row in rows], columns=names, index=manifest.index)
    types = dict.fromkeys(whole, "Int64") | dict.fromkeys(real, "float64") | {"one_colour": "boolean"}
    table = pd.concat([manifest, table.astype(types | dict.fromkeys(text, "str"))], axis=1)
    area = (table["width"] * table["height"]).astype("Float64")
    density = (table["bytes"] / area).astype("float64").round(6)
    return table.assign(bytes_per_pixel=density, content=manifest["sha256"])


def seen(rows: "pd.DataFrame", files: Path, config: Config) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number, what `look` says) of each row's file, which it may not take too long or too much for; in no order."""
    limits: dict[str, Any] = {"max_bytes": config.max_bytes, "max_pixels": config.max_pixels}
    code = (__file__, decoding.__file__, reading.__file__, colours.__file__, jpeg.__file__, images.__file__)
    decoders = {name: version(name) for name in DECODERS}
    key = cache.key({**limits, **decoders}, map(Path, code))
    processes = min(workers.count(), math.ceil(len(rows) / BATCH))
    paths = [str(files / path) for path in rows["path"]]
    look_at = functools.partial(look, **limits)
    measured = _measured.through_cache(look_at, paths, list(rows["sha256"]), key, processes, config.max_seconds)
    for number, found in measured:
        if "lost" in found:
            detail = f"lost: {found['lost']} (validate.max_seconds)"
            yield number, {"undecodable": "lost", "detail": detail}
        else:
            yield number, found


def look(path: str, *, max_bytes: int, max_pixels: int) -> Mapping[str, Any]:
    """One file's measures, its small grey copy as bytes, or why it cannot be used."""
    limits = decoding.Limits(bytes=max_bytes, pixels=max_pixels)
    try:
        decoded = decoding.decode(decoding.read(Path(path), limits), limits)
    except decoding.Undecodable as error:
        column = "too_large" if error.reason.startswith("too many") else "undecodable"
        return {column: error.reason, "detail": f"{error.reason}: {error.detail}" if error.detail else error.reason}
    image = decoded.image
    light = image.convert("L")
    grey = images.grey(light)
    brightness, contrast = levels(light)
    return {
        "width": image.width,
        "height": image.height,
        "aspect": round(image.width / image.height, 6),
        "channels": len(image.getbands()),
        "mode": decoded.mode,
        "format": decoded.format,
        "conversions": ",".join(decoded.conversions),
        "one_colour": decoded.one_colour,
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": sharpness(light),
        "dhash": f"{images.dhash(light):016x}",
        "flat": images.flat(image) if grey.min() == grey.max() else None,
        "pixels": digest(image),
        "grey": grey.tobytes(),
    }


def digest(image: Image.Image) -> str:
    """Equal for equal pixels; a colour image whose channels are equal is a grey one."""
    grey = image.mode == "L" or all(_equal(image, "R", other) for other in "GB")
    total = hashlib.sha256(f"{'L' if grey else 'RGB'} {image.size} ".encode())
    for top in range(0, image.height, STRIP):  # a whole copy more would be 120 MB
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        total.update((strip.getchannel(0) if grey else strip).tobytes())
    return total.hexdigest()


def _equal(image: Image.Image, one: str, other: str) -> bool:
    return ImageChops.difference(image.getchannel(one), image.getchannel(other)).getbbox() is None


def levels(light: Image.Image) -> tuple[float, float]:
    """Mean and standard deviation of a grey image's levels, 0..255."""
    counts = np.array(light.histogram(), np.float64)
    steps = np.arange(256)
    mean = counts @ steps / counts.sum()
    return round(float(mean), 4), round(float(np.sqrt(counts @ (steps - mean) ** 2 / counts.sum())), 4)


def sharpness(light: Image.Image) -> float:
    """The variance of the Laplacian, of a copy of at most a million pixels; 0 for an image of less than 3×3."""
    light = light.reduce(max(1, math.ceil(math.sqrt(light.width * light.height / SHARP))))
    if min(light.size) < 3:
        return 0.0
    pixels = np.asarray(light).astype(np.int16)
    edges = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:] - 4 * pixels[1:-1, 1:-1]
    return round(float(edges.var(dtype=np.float64)), 4)


def rules(config: Config) -> list[Rule]:
    """In the order in which a row's reason is looked for."""
    share = f"{config.max_undecodable:.0%}"
    advice = f"at most {share} undecodable; repair the files at the source, or raise validate.max_undecodable"
    undecodable = {"column": "undecodable", "mostly": 1 - config.max_undecodable}
    return [
        Rule(NULL, {"column": "too_large"}, reason="too_large"),
        Rule(NULL, undecodable, "critical", "undecodable", advice),
        Rule(BETWEEN, {"column": "width", "min_value": config.min_side}, reason="too_small"),
        Rule(BETWEEN, {"column": "height", "min_value": config.min_side}, reason="too_small"),
        Rule(IN, {"column": "format", "value_set": list(decoding.FORMATS)}, "info", name="format"),
        Rule(IN, {"column": "mode", "value_set": ["L", "RGB"]}, "info", name="mode"),
        Rule(IN, {"column": "one_colour", "value_set": [False]}, name="one_colour"),
    ]


def neighbours(accepted: "pd.DataFrame", config: Config, scratch: Path) -> np.ndarray:
    """int64 [M, 2]: pairs of near duplicates, as positions in `accepted`, whose index counts rows of the manifest."""
    hashes = np.array([int(text, 16) for text in accepted["dhash"]], np.uint64)
    greys = np.load(scratch / "greys.npy", mmap_mode="r")
    rows = accepted.index.to_numpy()
    return images.neighbours(hashes, greys, rows, distance=config.near_distance, correlation=config.near_correlation)
