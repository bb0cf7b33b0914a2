"""Takes a task's source over into data/raw/<task>: a manifest of one row an example, licence, origin, images' files.

A text stands in the manifest; where it could not be decoded, so do its bytes.

Nothing is judged here beyond what reading takes: an example that cannot be read keeps its row, with the reason.
"""

import hashlib
import json
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from pipeline import artifacts, parts, stage
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.examples import EMPTY_CLASS, Example
from pipeline.sources import _asked, _place, _still
from pipeline.tally import Tally
from pipeline.targets import Kind

log = logging.getLogger(__name__)
BLOCK = 1 << 20  # bytes read at a time
NAME_LIMIT = 255  # bytes of a file name, on every usual file system
Row = dict[str, Any]


def fetch(examples: Iterable[Example], kind: str, copy: Callable[[Example], tuple[str, str, int]]) -> Iterator[Row]:
    """One row of the manifest an example; `copy` stores an image and returns its path, sha256 and size in bytes.

    A second example of the same id gets a new one, and is refused: nothing can tell the two apart.
    """
    seen: Counter[str] = Counter()
    for example in examples:
        seen[example.id] += 1
        if seen[example.id] > 1:
            example = replace(example, id=_free(example.id, seen), refused="another example has the same id")
        yield _row(example, kind, copy)


def _free(taken: str, seen: Counter[str]) -> str:
    """A new id, `taken#2` or the next that no example has had, which is then taken too."""
    number = seen[taken]
    while seen[f"{taken}#{number}"]:
        number += 1
    seen[f"{taken}#{number}"] = 1
    return f"{taken}#{number}"


def _row(example: Example, kind: str, copy: Callable[[Example], tuple[str, str, int]]) -> Row:
    path, digest, size, refused = stored_name(example.path or example.id), "", 0, example.refused
    if not refused and kind == "text" and isinstance(example.content, bytes):
        digest, size = hashlib.sha256(example.content).hexdigest(), len(example.content)
    elif not refused:
        try:
            path, digest, size = copy(example)
        except _UnreadableError as error:
            refused = f"unreadable: {error}"
    probabilities = json.dumps(dict(example.probabilities), sort_keys=True) if example.probabilities else None
    row: Row = {"id": example.id, "path": path, "label": example.label, "group": example.group, "split": example.split}
    row |= {"probabilities": probabilities, "sha256": digest, "bytes": size, "refused": refused}
    if kind == "text":
        row |= {"text": "" if refused else example.text, "encoding_ok": example.encoding_ok}
        row["raw"] = None if example.encoding_ok or refused else example.content
    return row


def without_empty_folders(examples: Iterable[Example], place: Path) -> Iterator[Example]:
    """The examples of the source at `place`, to the end.

    Raises: DataError, after the last one, for class folders without a file. DVC does not see them: in a run that
    recorded them they would stay for ever, since nothing that it sees changes when they go.
    """
    empty = []
    for example in examples:
        if example.refused == EMPTY_CLASS and isinstance(example.content, Path) and _unseen(example.content, place):
            empty.append(example.id)
        yield example
    if empty:
        names = ", ".join(empty[:5]) + (f" and {len(empty) - 5:,} more" if len(empty) > 5 else "")
        folders = "folder without a file" if len(empty) == 1 else "folders without a file"
        raise DataError(
            f"{place}: found the class {folders} {names}; expected examples in every class folder; add some, or "
            "remove the folder"
        )


def _unseen(folder: Path, place: Path) -> bool:
    """Whether it lies in the source itself, not in an archive unpacked elsewhere, and no file lies in it."""
    inside = folder.resolve().is_relative_to(place.resolve())
    return inside and not any(names for _, _, names in os.walk(folder))


class _UnreadableError(Exception):
    """The source's file, not ours, is at fault."""


def copy_file(origin: Path, target: Path) -> tuple[str, int]:
    """Copies a regular file and returns the sha256 and size of just the bytes written, whatever changes meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        with _open_regular(origin) as source, target.open("wb") as copy:
            while block := _read(source):
                digest.update(block)
                size += copy.write(block)
    except _UnreadableError:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest(), size


def write_file(content: bytes, target: Path) -> tuple[str, int]:
    """Writes an image that the source made, and returns its sha256 and size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest(), len(content)


def _open_regular(path: Path) -> BinaryIO:
    # Without O_NONBLOCK a pipe that took the file's place since it was listed would hang the run.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _UnreadableError(error.strerror) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _UnreadableError("not a regular file")
    return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(BLOCK)
    except OSError as error:
        raise _UnreadableError(error.strerror) from None


def stored_name(example_id: str) -> str:
    """The id as a path below files/; a part too long for a file name, as escaped ones can be, becomes its hash."""

    def part(name: str) -> str:
        encoded = name.encode()
        return name if len(encoded) <= NAME_LIMIT else hashlib.sha256(encoded).hexdigest() + Path(name).suffix[:20]

    return "/".join(part(name) for name in example_id.split("/"))


class Contents:
    """The hash of all that was read: that of the lines `<sha256>  <id>` of its examples, refused ones left out."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def passing(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if not row["refused"]:
                self._digest.update(f"{row['sha256']}  {row['id']}\n".encode())
            yield row

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_manifest(rows: Iterable[Row], kind: str, folder: Path, target: Kind = "classes") -> Tally:
    """Writes the rows as a table in parts, and counts them."""
    import pyarrow as pa

    columns = ["id", "path", "label", "group", "split", "probabilities", "sha256", "refused"]
    fields = [(name, pa.string()) for name in columns]
    fields.insert(7, ("bytes", pa.int64()))
    fields += [("text", pa.string()), ("encoding_ok", pa.bool_()), ("raw", pa.binary())] if kind == "text" else []
    written = Tally(target)

    def counted() -> Iterator[Row]:
        for row in rows:
            written.add(row["id"], row["label"], row["refused"])
            yield row

    parts.write(counted(), pa.schema(fields), folder)
    return written


def _require_variety(written: Tally, place: Path, separator: str | None) -> None:
    """Raises: DataError where there is nothing to tell apart."""
    if written.kind != "labels" and len(written.labels) < 2:
        what = "classes" if written.kind == "classes" else "different values"
        raise DataError(f"{place}: found {written}; expected at least 2 {what}; add examples or correct the source")
    if written.kind == "labels" and not written.labels:
        raise DataError(f"{place}: found {written}; expected labels; correct source.label_column or label_columns")
    if separator and not written.several:
        first = next(iter(written.labels))
        raise DataError(
            f"{place}: found no cell with two labels and {separator!r} between them (one cell: {first[:40]!r}); "
            "expected some; correct source.separator, or set source.target: classes"
        )


def main(task: Task) -> None:
    module, config = task.named("source", "sources")
    place = _place.existing(config.path, f"{task.where}.source")

    def states() -> _still.States:
        return module.states(config) if hasattr(module, "states") else _still.states(place)

    before = states()
    with artifacts.fresh(artifacts.folder("raw", task.name)) as out:
        if task.kind == "image":
            (out / "files").mkdir()

        def copy(example: Example) -> tuple[str, str, int]:
            name = stored_name(example.path or example.id)
            if isinstance(example.content, bytes):
                return name, *write_file(example.content, out / "files" / name)
            return name, *copy_file(Path(str(example.content)), out / "files" / name)

        contents = Contents()
        rows = contents.passing(fetch(without_empty_folders(module.read(config), place), task.kind, copy))
        said = _asked.of(config)
        written = write_manifest(rows, task.kind, out / "manifest", said.kind)
        _require_variety(written, place, said.separator)
        origin = {"source": task.raw["source"]["name"], **module.describe(config), "rows": written.total}
        origin |= {"sha256": contents.sha256} | said.noted
        _still.require(place, before, states())
        artifacts.write_json(out / "source.json", origin)
    log.info("fetch %s: %s", task.name, written)


if __name__ == "__main__":
    stage.run("fetch", main)
