"""A folder into which deliveries are dropped, folders and archives, each accepted or refused whole by itself.

They are read in the order in which they first came, so that what is old keeps its place. Only a delivery that is new or
has changed is unpacked and compared with its check sums; what is known lies in .danlu/ and is safe to delete. One that
is still being written is left for the next run: it is known by its name (`x.part`, `x.tmp`, `.x`), or by the want of
its list of check sums, which is to come last. Ids begin with the delivery's name.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import artifacts
from pipeline.errors import DataError, PipelineError
from pipeline.examples import Example
from pipeline.sources import _checksums, _delivery, _still, _tree, _unpack

KIND = None  # the layout's
VERSION = 2  # of what is remembered, and of how deliveries are judged
UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", "~")
log = logging.getLogger(__name__)
Known = dict[str, dict[str, str]]  # by delivery, in the order of arrival: state, sha256 of an archive, reader


@dataclass(frozen=True)
class Config(_delivery.Settings):
    pass


def read(config: Config) -> Iterator[Example]:
    """Every example of the accepted deliveries, and one refused one for each refused delivery."""
    for name, found in _deliveries(config):
        if found is None:
            log.info("%s: %s is still being written; left for the next run", config.path, name)
        elif isinstance(found, str):
            yield Example(f"{name}/", refused=f"delivery refused: {found}")
        else:
            for example in found.read():
                path = f"{name}/{example.path}" if example.path else ""
                yield replace(example, id=f"{name}/{example.id}", path=path)


def files(config: Config) -> Iterator[tuple[str, Path]]:
    for delivery, found in _deliveries(config):
        if isinstance(found, _delivery.Opened):
            for name, path in found.files():
                yield f"{delivery}/{name}", path


def describe(config: Config) -> Mapping[str, Any]:
    rows: list[dict[str, str]] = []
    for name, found in _deliveries(config) if Path(config.path).is_dir() else ():
        if isinstance(found, str):
            rows.append({"name": name, "refused": found})
        elif found:
            rows.append({"name": name, **_delivery.describe(replace(config, origin=name), found)})
    return {**_delivery.describe(config, None), "deliveries": rows}


def states(config: Config) -> Mapping[str, str]:
    """The state of each delivery, those left out that are still being written."""
    entries = _entries(Path(config.path)) if Path(config.path).is_dir() else {}
    return {name: _state(entry) for name, entry in entries.items() if not _unfinished(entry, config)}


def _deliveries(config: Config) -> Iterator[tuple[str, _delivery.Opened | str | None]]:
    """Name, and the delivery, why it is refused, or None for one that is still being written."""
    root = Path(config.path)
    if not root.is_dir():
        raise DataError(f"{root}: found no folder; expected the inbox; correct source.path")
    memory = _memory(config)
    known = _remembered(memory)
    entries = _entries(root)
    order = [name for name in known if name in entries] + sorted(entries.keys() - known.keys(), key=str.encode)
    came: Known = {name: known.get(name, {}) for name in order if not _unfinished(entries[name], config)}
    for name in order:
        if name not in came:
            yield name, None
            continue
        record, found = _look(config, entries[name], came[name])
        if record != came[name]:
            came[name] = record
            artifacts.write_json(memory, list(came.items()))
        yield name, found
    if list(came) != list(known):
        artifacts.write_json(memory, list(came.items()))


def _entries(root: Path) -> "dict[str, os.DirEntry[str]]":
    """By name, without the lists of check sums that lie beside their archives."""
    found = {_tree.printable(entry.name): entry for entry in _tree.listed(root)}
    lists = {name + suffix for name in found for suffix in _checksums.BESIDE}
    return {name: entry for name, entry in found.items() if name not in lists}


def _memory(config: Config) -> Path:
    return artifacts.STATE / "inbox" / f"{hashlib.sha256(os.path.abspath(config.path).encode()).hexdigest()[:16]}.json"


def _remembered(memory: Path) -> Known:
    try:
        return {str(name): dict(record) for name, record in artifacts.read_json(memory)}
    except (OSError, ValueError, TypeError):
        return {}


def _unfinished(entry: "os.DirEntry[str]", config: Config) -> bool:
    if entry.name.startswith(".") or entry.name.lower().endswith((*UNFINISHED, *_checksums.BESIDE)):
        return True
    return bool(config.checksums) and entry.is_dir() and not os.path.lexists(Path(entry.path, str(config.checksums)))


def _look(
    config: Config, entry: "os.DirEntry[str]", record: dict[str, str]
) -> tuple[dict[str, str], _delivery.Opened | str]:
    """What to remember, and the delivery or why it is refused; one judged before in this state keeps its verdict."""
    state, reader = _state(entry), _reader(config)
    same = record.get("state") == state
    judged = same and record.get("reader") == reader
    if judged and "refused" in record:
        return record, record["refused"]
    try:
        found = _open(entry, config, record.get("sha256") if same else None)
        if not judged:
            found.verify()
            for _ in found.read():  # to the end: a delivery that breaks off is refused before any of it is used
                pass
    except PipelineError as error:
        return {"state": state, "reader": reader, "refused": str(error)}, str(error)
    return {"state": state, "reader": reader, "sha256": found.sha256}, found


def _open(entry: "os.DirEntry[str]", config: Config, digest: str | None) -> _delivery.Opened:
    if entry.is_symlink():
        raise DataError(f"{entry.path}: found a link; expected a folder or an archive; move the delivery itself here")
    return _delivery.opened(config, Path(entry.path), digest or None)


def _reader(config: Config) -> str:
    """A hash of all that decides whether a delivery is accepted, besides the delivery."""
    asked = json.dumps([VERSION, _unpack.VERSION, asdict(config)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def _state(entry: "os.DirEntry[str]") -> str:
    """A hash of names, sizes and times of all that lies in a delivery, and of its lists of check sums."""
    place = Path(entry.path)
    return _still.state(place, *_checksums.beside(place))
