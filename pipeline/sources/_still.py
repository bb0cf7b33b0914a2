"""Whether a source stands still while it is read: DVC hashes it only after the stage, and takes what came for read."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import ChangingError
from pipeline.sources import _tree

SHOWN = 3  # names in an error
States = Mapping[str, str]  # by the name of what lies directly in the source


def states(root: Path) -> States:
    """The state of each file or folder directly in the source, or of the source itself where it is a file."""
    if not root.is_dir():
        return {_tree.printable(root.name): state(root)}
    return {_tree.printable(entry.name): state(Path(entry.path)) for entry in _tree.listed(root)}


def state(*places: Path) -> str:
    """A hash of names, sizes and times of all that lies at these places, no file of which is opened."""
    digest = hashlib.blake2b(digest_size=16)
    for place in places:
        for line in _lines(str(place)):
            digest.update(line.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _lines(root: str) -> Iterator[str]:
    yield _line(root)
    pending = [root] if os.path.isdir(root) and not os.path.islink(root) else []
    while pending:
        try:
            entries = _tree.listed(Path(pending.pop()))
        except OSError as error:
            yield f"{error.strerror}\n"
            continue
        for entry in entries:
            yield _line(entry.path)
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def _line(place: str) -> str:
    try:
        found = os.stat(place)
    except OSError as error:  # it went meanwhile, or is a link that leads nowhere
        return f"{place}\0{error.strerror}\n"
    if stat.S_ISDIR(found.st_mode):  # its time changes with a hidden system file too
        return f"{place}\0\n"
    return f"{place}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}\n"


def require(place: Path, before: States, after: States) -> None:
    """Raises: ChangingError that names what came, changed or went between two looks."""
    came, gone = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    found = [
        f"{_some(names)} {verb}" for names, verb in ((came, "arrived"), (changed, "changed"), (gone, "went")) if names
    ]
    if found:
        raise ChangingError(
            f"{place}: found that {', '.join(found)} while it was read; expected a source that stands still; run again"
        )


def _some(names: list[str]) -> str:
    names = [name if name.isprintable() else ascii(name) for name in names]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
