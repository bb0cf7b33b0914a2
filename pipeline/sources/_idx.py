"""Arrays in the IDX format of MNIST and its kin, plain or as gz."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from pipeline.errors import DataError

BYTES = 8  # the type code of uint8, the only one that these data sets use
LARGEST = 1 << 32  # bytes


def read(path: Path, dimensions: int) -> np.ndarray:
    """uint8, of as many dimensions. Raises: DataError for a file that is cut off or of another format."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if magic != bytes([0, 0, BYTES, dimensions]):
                raise DataError(
                    f"{path}: found {magic.hex()}; expected IDX, 0000{BYTES:02x}{dimensions:02x}; get it again"
                )
            shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(dimensions))
            size = int(np.prod(shape, dtype=object))
            content = file.read(min(size, LARGEST) + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: found a broken gz ({error}); expected a whole one; get it again") from None
    if len(content) != size:
        raise DataError(f"{path}: found {len(content):,} bytes for the shape {shape}; expected {size:,}; get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
