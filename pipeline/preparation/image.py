"""Images as training reads them: uint8 in the shards of a memory-mapped store, of one size or each of its own."""

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from pipeline import cache, parts, sides
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.features import colours, decoding, jpeg, reading, resizing
from pipeline.store import Ragged

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("path", "sha256")
USUAL_BYTES = 1 << 19  # of an image that keeps its size
SMALLEST = 64  # images of a shard while there are few


@dataclass(frozen=True)
class Config:
    side: int = setting(96, low=8, high=1024, unit="pixels a side")
    fit: resizing.Fit = "crop"  # none: images keep their sizes, and features.input is what the network reads
    channels: Literal["auto", "grey", "rgb"] = "auto"  # auto: grey where all train images are
    quality: decoding.Quality = "exact"  # fast: JPEG is decoded at a fraction, to at least 1.5 times the size
    background: str = "white"  # what transparent images are put on: a colour's name, or #rrggbb
    seed: int = setting(0, low=0, high=2**32 - 1)
    shares: tuple[float, ...] = sides.SHARES  # train, validation, test

    def __post_init__(self) -> None:
        sides.check(self.shares)
        colours.check(self.background)


def near(config: Config, accepted: Path, found: sides.Near, validation: Mapping[str, Any]) -> sides.Near:
    """What may not stand on two sides: `found`, and all images of one colour, which resized are equal.

    They get one number, because pairs of 100,000 blank pages would be five thousand million.
    """
    import pandas as pd

    flat = parts.read(accepted, ["flat"])["flat"]
    rows = pd.Series(np.arange(len(flat)))
    first = rows.groupby(flat).transform("first").fillna(rows).astype(int)  # each one's first row of the same colour
    number = np.arange(int(found.same.max(initial=-1)) + 1)
    number[found.same] = found.same[first]
    pairs = number[found.pairs]
    return replace(found, same=number[found.same], pairs=pairs[pairs[:, 0] != pairs[:, 1]])


@dataclass(frozen=True)
class Settings:
    """All that decides an image's pixels, as serving repeats it."""

    files: Path
    size: int
    fit: resizing.Fit
    channels: resizing.Channels
    limits: decoding.Limits
    quality: decoding.Quality = "exact"
    background: str = "white"

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Of every image; None where each keeps its own."""
        return None if self.fit == "none" else (self.size, self.size, 1 if self.channels == "grey" else 3)


@dataclass(frozen=True)
class Job:
    """One shard: the files of its rows, and where earlier runs have put some of them."""

    paths: tuple[str, ...]
    made: tuple[cache.Place | None, ...]
    stem: Path
    settings: Settings


def settings(
    config: Config, accepted: Path, found: np.ndarray, files: Path, validation: Mapping[str, Any], out: Path
) -> Settings:
    """`found` [N] is each accepted row's split, of which 0 is train."""
    grey = config.channels == "grey"
    if config.channels == "auto":
        channels = parts.read(accepted, ["channels"])["channels"].to_numpy()
        grey = bool((channels[found == 0] == 1).all())
    limits = decoding.Limits(bytes=validation["max_bytes"], pixels=validation["max_pixels"])
    quality = "exact" if config.fit == "none" else config.quality  # what is not reduced is decoded whole
    return Settings(files, config.side, config.fit, "grey" if grey else "rgb", limits, quality, config.background)


def record(settings: Settings) -> dict[str, Any]:
    """What serving needs to repeat it."""
    import PIL

    return {
        "size": settings.size,
        "fit": settings.fit,
        "channels": settings.channels,
        "quality": settings.quality,
        "background": settings.background,
        "shape": settings.shape and list(settings.shape),
        "max_bytes": settings.limits.bytes,
        "max_pixels": settings.limits.pixels,
        "pillow": PIL.__version__,
        "simplejpeg": version("simplejpeg"),
    }


def suffixes(settings: Settings) -> tuple[str, ...]:
    """Of a shard's files."""
    return (".npy",) if settings.shape else (".npy", ".shapes.npy")


def key(settings: Settings) -> str:
    """One word for all that decides an image's pixels beside its file."""
    code = [Path(str(module.__file__)) for module in (colours, decoding, jpeg, reading, resizing)]
    return cache.key(record(settings), [Path(__file__), *code, code[0].with_name("resampling.py")])


def row_bytes(settings: Settings) -> int:
    return int(np.prod(settings.shape)) if settings.shape else USUAL_BYTES


def changed(stems: Iterable[Path]) -> dict[str, int]:
    """What was done to odd images validation counts, in the column `conversions`."""
    return {}


def digests(table: "pa.Table") -> np.ndarray:
    """uint8 [n, DIGEST]: the start of each file's sha256."""
    words = "".join(text[: 2 * cache.DIGEST] for text in table["sha256"].to_pylist())
    return np.frombuffer(bytes.fromhex(words), np.uint8).reshape(-1, cache.DIGEST)


def job(table: "pa.Table", settings: Settings, stem: Path, made: Sequence[cache.Place | None]) -> Job:
    return Job(tuple(table["path"].to_pylist()), tuple(made), stem, settings)


def shard(job: Job) -> int:
    """Writes the shard's files and returns how many images had to be decoded.

    Raises: DataError when a file that validation accepted cannot be decoded.
    """
    if job.settings.shape is None:
        _write_ragged(job)
    else:
        with open(f"{job.stem}.npy", "wb") as file:
            _write_header(file, (len(job.paths), *job.settings.shape))
            for pixels in _images(job):
                file.write(np.ascontiguousarray(pixels).data)
    return sum(place is None for place in job.made)


def _write_ragged(job: Job) -> None:
    """The bytes of one image after the other, and the shape of each."""
    shapes = []
    with open(f"{job.stem}.bytes", "w+b") as flat:
        for pixels in _images(job):
            flat.write(np.ascontiguousarray(pixels).data)
            shapes.append(pixels.shape)
        flat.seek(0)
        with open(f"{job.stem}.npy", "wb") as file:
            _write_header(file, (sum(map(math.prod, shapes)),))
            shutil.copyfileobj(flat, file, 1 << 20)
    os.unlink(f"{job.stem}.bytes")
    np.save(f"{job.stem}.shapes.npy", np.array(shapes, np.int32))


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Of a .npy file of uint8, whose rows are then written one by one: memory does not grow with the shard."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _images(job: Job) -> Iterator[np.ndarray]:
    """Each image's pixels, uint8 [H, W, C], from an earlier shard or from its file."""
    opened: dict[Path, Ragged | np.ndarray] = {}
    for path, place in zip(job.paths, job.made, strict=True):
        if place is None:
            yield _pixels(job.settings.files / path, job.settings)
            continue
        if place.stem not in opened:
            one_size = job.settings.shape is not None
            opened[place.stem] = np.load(f"{place.stem}.npy", "r") if one_size else Ragged.open([place.stem])
        yield opened[place.stem][place.row]


def _pixels(path: Path, settings: Settings) -> np.ndarray:
    from pipeline.features import resampling  # numba takes a third of a second to import

    try:
        return decoding.pixels(
            decoding.read(path, settings.limits),
            settings.limits,
            size=settings.size,
            fit=settings.fit,
            channels=settings.channels,
            quality=settings.quality,
            background=settings.background,
            resize=resampling.resize,
        )
    except decoding.Undecodable as error:
        raise DataError(f"{path}: validated, but now {error.reason}; expected an unchanged file; fetch again") from None
