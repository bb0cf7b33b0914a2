"""A folder of .txt files, one file a class, one text a line; train/, val/ and test/ above are the user's own split."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import setting
from pipeline.examples import EMPTY_CLASS, Example
from pipeline.sources import _encodings, _lines, _tree, _user
from pipeline.sources._encodings import Declared

KIND = "text"


@dataclass(frozen=True)
class Config(_user.OneClassEach):
    encoding: Declared = setting("auto")  # of every file; auto: by mark, strict utf-8 or gb18030 of each whole file


def _found(config: Config, leave_out: Collection[str]) -> Iterator[tuple[_tree.Found, str | None]]:
    """What lies in the folder, and why it is no class's file, if it is none."""
    root = Path(config.path)
    depth = 2 if _tree.split_folders(root) else 1
    for found in _tree.walk(root, leave_out):
        refused = found.refused
        if not refused and not found.parts[-1].lower().endswith(".txt"):
            refused = f"not a text file (suffix: {Path(found.parts[-1]).suffix or 'none'})"
        if not refused and len(found.parts) != depth:
            refused = "not directly in the folder" if depth == 1 else "not directly in a split's folder"
        yield found, refused


def files(config: Config, leave_out: Collection[str] = ()) -> Iterator[tuple[str, Path]]:
    """The classes' files: name within the folder, path."""
    for found, refused in _found(config, leave_out):
        if not refused:
            yield found.name, found.path


def read(config: Config, leave_out: Collection[str] = ()) -> Iterator[Example]:
    """Every line of every class's file, but of those to leave out.

    Raises: DataError when a file is in another, wide encoding, or the layout can be read in two ways.
    """
    splits = _tree.split_folders(Path(config.path))
    for found, refused in _found(config, leave_out):
        split, label, empty = splits.get(found.parts[0]), Path(found.parts[-1]).stem, True
        if refused:
            yield Example(found.name, split=split, refused=refused)
            continue
        encoding = _encodings.of(found.path, config.encoding)
        for number, raw in _lines.read(found.path, encoding):
            text, ok = _lines.decode(raw, encoding)
            yield Example(f"{found.name}:{number}", raw, label, split=split, path=found.name, text=text, encoding_ok=ok)
            empty = False
        if empty:
            yield Example(found.name, label=label, split=split, refused=EMPTY_CLASS)


def describe(config: Config) -> Mapping[str, str]:
    described = _user.describe(config)
    if not Path(config.path).exists():
        return described
    return {**described, "encoding": _encodings.used((path for _, path in files(config)), config.encoding)}
