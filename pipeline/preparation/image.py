"""Images as training reads them: uint8 [n, H, W, C] in the shards of a memory-mapped store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import cache, parts, sides
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.features import decoding

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("path", "sha256")
SUFFIXES = (".npy",)
SMALLEST = 64  # images of a shard while there are few


@dataclass(frozen=True)
class Config:
    size: int = setting(96, low=8, high=1024, unit="pixels a side")
    fit: Literal["crop", "pad", "stretch"] = "crop"
    channels: Literal["auto", "grey", "rgb"] = "auto"  # auto: grey where all train images are
    seed: int = setting(0, low=0, high=2**32 - 1)
    shares: tuple[float, ...] = sides.SHARES  # train, validation, test

    def __post_init__(self) -> None:
        sides.check(self.shares)


@dataclass(frozen=True)
class Settings:
    """All that decides an image's pixels, as serving repeats it."""

    files: Path
    size: int
    fit: decoding.Fit
    channels: decoding.Channels
    limits: decoding.Limits

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, 1 if self.channels == "grey" else 3


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
    return Settings(files, config.size, config.fit, "grey" if grey else "rgb", limits)


def record(settings: Settings) -> dict[str, Any]:
    """What serving needs to repeat it."""
    import PIL

    return {
        "size": settings.size,
        "fit": settings.fit,
        "channels": settings.channels,
        "shape": list(settings.shape),
        "max_bytes": settings.limits.bytes,
        "max_pixels": settings.limits.pixels,
        "pillow": PIL.__version__,
    }


def key(settings: Settings) -> str:
    """One word for all that decides an image's pixels beside its file."""
    return cache.key(record(settings), [Path(__file__), Path(decoding.__file__)])


def row_bytes(settings: Settings) -> int:
    return int(np.prod(settings.shape))


def digests(table: "pa.Table") -> np.ndarray:
    """uint8 [n, DIGEST]: the start of each file's sha256."""
    words = "".join(text[: 2 * cache.DIGEST] for text in table["sha256"].to_pylist())
    return np.frombuffer(bytes.fromhex(words), np.uint8).reshape(-1, cache.DIGEST)


def job(table: "pa.Table", settings: Settings, stem: Path, made: Sequence[cache.Place | None]) -> Job:
    return Job(tuple(table["path"].to_pylist()), tuple(made), stem, settings)


def shard(job: Job) -> int:
    """Writes <stem>.npy and returns how many images had to be decoded.

    Raises: DataError when a file that validation accepted cannot be decoded.
    """
    count = len(job.paths)
    # A file that is written page by page, so that memory does not grow with the shard.
    out = np.lib.format.open_memmap(f"{job.stem}.npy", mode="w+", dtype=np.uint8, shape=(count, *job.settings.shape))
    opened: dict[Path, np.ndarray] = {}
    for row, place in enumerate(job.made):
        if place:
            if place.stem not in opened:
                opened[place.stem] = np.load(f"{place.stem}.npy", mmap_mode="r", allow_pickle=False)
            out[row] = opened[place.stem][place.row]
        else:
            out[row] = _pixels(job.settings.files / job.paths[row], job.settings)
    out.flush()
    return sum(place is None for place in job.made)


def _pixels(path: Path, settings: Settings) -> np.ndarray:
    try:
        decoded = decoding.decode(decoding.read(path, settings.limits), settings.limits)
    except decoding.Undecodable as error:
        raise DataError(f"{path}: validated, but now {error.reason}; expected an unchanged file; fetch again") from None
    return decoding.fit(decoded.image, settings.size, settings.fit, settings.channels)
