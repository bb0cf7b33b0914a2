"""A folder of images, one folder a class; train/, val/ and test/ above the classes are the user's own split."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.examples import EMPTY_CLASS, Example, SplitName
from pipeline.sources import _tree, _user
from pipeline.sources._user import describe as describe

KIND = "image"


@dataclass(frozen=True)
class Config(_user.OneClassEach):
    pass


def read(config: Config, leave_out: Collection[str] = ()) -> Iterator[Example]:
    """Every file in the folder but those to leave out; one below a class folder's own folders has that class too.

    Raises: DataError when the folder's layout can be read in two ways.
    """
    root = Path(config.path)
    splits = _tree.split_folders(root)
    empty = set(_class_folders(root, splits))
    for found in _tree.walk(root, leave_out):
        example = _example(found, splits)
        if not example.refused:
            empty.discard(found.parts[: 2 if splits else 1])
        yield example
    for parts in sorted(empty):
        yield Example("/".join(parts) + "/", root.joinpath(*parts), label=parts[-1], refused=EMPTY_CLASS)


def _class_folders(root: Path, splits: Mapping[str, SplitName]) -> Iterator[tuple[str, ...]]:
    for above in splits or [""]:
        for name in _tree.folders(root / above):
            if not _tree.is_image(name):
                yield (*filter(None, [above]), _tree.printable(name))


def _example(found: _tree.Found, splits: Mapping[str, SplitName]) -> Example:
    split = splits.get(found.parts[0])
    depth = 2 if splits else 1
    if found.refused:
        return Example(found.name, split=split, refused=found.refused)
    if not _tree.is_image(found.parts[-1]):
        suffix = Path(found.parts[-1]).suffix or "none"
        return Example(found.name, split=split, refused=f"not named as an image (suffix: {suffix})")
    if len(found.parts) <= depth:
        return Example(found.name, split=split, refused="not in a class folder")
    return Example(found.name, found.path, label=found.parts[depth - 1], split=split)
