"""What was measured of image files in earlier runs, found by the files' own sha256, so that a run measures what is new.

N files. A shard of the cache holds some files' measures as a table and their small grey copies as an array.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cache, workers

SUFFIXES = (".measures.parquet", ".greys.npy")
PIECE = 2048  # files that are measured before they are kept
Measures = Mapping[str, Any]


def through_cache(
    look: Callable[[str], Measures],
    paths: Sequence[str],
    digests: Sequence[str],
    key: str,
    processes: int,
    limit: float,
) -> Iterator[tuple[int, Measures]]:
    """(number, measures) of each file, in no order; `grey` among them are bytes.

    look: what one file's measures are; digests: the files' sha256 in hex; key: all that decides the measures but the
    file; limit: seconds a file. A file that takes longer has only `lost`, and is looked at again by the next run.
    """
    words = [bytes.fromhex(digest)[: cache.DIGEST] for digest in digests]
    shelf = cache.Shelf("measures", key, SUFFIXES)
    known = np.frombuffer(b"".join(words), np.uint8).reshape(-1, cache.DIGEST)
    places = shelf.find(known)
    new = [number for number, place in enumerate(places) if place is None]
    yield from _kept([(number, place) for number, place in enumerate(places) if place])
    done: list[tuple[int, Measures]] = []
    results = workers.imap(look, [paths[number] for number in new], workers=processes, deadline=limit)
    for number, found in zip(new, results, strict=True):
        if isinstance(found, workers.Lost):
            yield number, {"lost": found.reason}
            continue
        yield number, found
        if found.get("undecodable") in PASSING:
            continue
        done.append((number, found))
        if len(done) == PIECE:
            _keep(shelf, known, done)
            done = []
    if done:
        _keep(shelf, known, done)
    shelf.tidy()


PASSING = ("unreadable", "out of memory", "changed while it was read", "not a regular file")
"""Reasons that may be the machine's and not the file's: such a file is looked at again by the next run."""


def _kept(places: list[tuple[int, cache.Place]]) -> Iterator[tuple[int, Measures]]:
    """Shard by shard."""
    import pyarrow.parquet as pq

    stem, rows, greys = Path(), [], np.empty(0)
    for number, place in sorted(places, key=lambda item: (str(item[1].stem), item[1].row)):
        if place.stem != stem:
            stem = place.stem
            rows = pq.read_table(f"{stem}{SUFFIXES[0]}").to_pylist()
            greys = np.load(f"{stem}{SUFFIXES[1]}", allow_pickle=False)
        found = {name: value for name, value in rows[place.row].items() if value is not None}
        yield number, found | ({"grey": greys[place.row].tobytes()} if "dhash" in found else {})


def _keep(shelf: cache.Shelf, known: np.ndarray, done: list[tuple[int, Measures]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    digests = known[[number for number, _ in done]]
    name = shelf.name(digests)
    size = max((len(found["grey"]) for _, found in done if "grey" in found), default=0)
    greys = np.zeros((len(done), size), np.uint8)
    for row, (_, found) in enumerate(done):
        if "grey" in found:
            greys[row] = np.frombuffer(found["grey"], np.uint8)
    names = sorted({name for _, found in done for name in found} - {"grey"})
    table = pa.table({name: [found.get(name) for _, found in done] for name in names})
    pq.write_table(table, f"{shelf.building(name)}{SUFFIXES[0]}")
    with open(f"{shelf.building(name)}{SUFFIXES[1]}", "wb") as file:
        np.save(file, greys)
    shelf.put(name, digests)
