"""The order in which examples arrived, kept so that new ones are put behind old ones and old shards stay as they are.

Stage validate adds to it: data/order/<task>/ has one file a generation, named by the place of its first example, of the
first 64 bits of each example's content hash. N examples.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline import artifacts
from pipeline.errors import DataError

NONE = np.empty(0, np.uint64)
WORN = 0.5
"""Below this share of examples that are still there the order is made anew."""


def keys(contents: Iterable[str]) -> np.ndarray:
    """uint64 [N] of content hashes in hexadecimal."""
    return np.fromiter((int(text[:16], 16) for text in contents), np.uint64)


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What is known: uint64 keys in the order of arrival, and where each generation starts, int64.

    Raises: DataError for a file that is damaged.
    """
    generations, starts, total = [NONE], [], 0
    for path in sorted(folder.glob("*.npy")):
        try:
            found = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError):
            found = np.empty(0)
        if found.dtype != np.uint64 or path.stem != f"{total:010}":
            raise DataError(
                f"{path}: found no list of examples that continues the one before; expected what stage validate wrote; "
                f"delete {folder}: the order is then made anew, and every shard with it"
            )
        starts.append(total)
        generations.append(found)
        total += len(found)
    return np.concatenate(generations), np.array(starts, np.int64)


def extend(folder: Path, arrived: np.ndarray) -> int:
    """Adds those of the keys that are not known as one generation, and returns how many there were."""
    known, _ = read(folder)
    fresh = arrived[~np.isin(arrived, known)]
    if len(known) and len(arrived) - len(fresh) < WORN * len(known):
        with artifacts.fresh(folder) as out:
            np.save(out / f"{0:010}.npy", arrived)
    elif len(fresh) or not len(known):
        with artifacts.whole(folder / f"{len(known):010}.npy") as building, building.open("wb") as file:
            np.save(file, fresh)
    return len(fresh)


def places(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Each wanted key's place in the order of arrival, int64 [N]. Raises: ValueError for an unknown one."""
    order = np.argsort(known, kind="stable")
    found = np.minimum(np.searchsorted(known[order], wanted), max(len(known) - 1, 0))
    if len(wanted) and (not len(known) or not np.array_equal(known[order][found], wanted)):
        raise ValueError("an example without a place in the order of arrival")
    return order[found].astype(np.int64)
