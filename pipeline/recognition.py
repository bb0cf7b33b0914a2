"""Recognises what lies at a path, for `danlu init`: which source reads it, and with which settings."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import tabular
from pipeline.errors import DataError
from pipeline.sources import _checksums, _records, _tree, _unpack, inbox, text_files, torchvision
from pipeline.sources._delivery import Settings
from pipeline.sources._entry import Names, NamesError
from pipeline.tabular import Block, Columns

EXPECTED = (
    "expected a folder of images, one folder a class; a table of texts, or of images beside it (CSV, TSV, JSONL, "
    "Parquet); a folder of .txt, one a class; a zip or tar of these; "
    "or MNIST, CIFAR or ImageNet as torchvision lays them out; or an inbox of several deliveries of one layout"
)
WAYS_OUT = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".et"), "save the sheet as CSV"),
    **dict.fromkeys((".rar", ".7z"), "unpack it, and pack it again as zip or tar"),
    **dict.fromkeys(
        (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst"), "its first bytes are no such archive's: get it again"
    ),
}
LICENCES = ("licence", "license", "copying")


def source(path: Path, said: Columns) -> tuple[Block, str]:
    """The settings of the source, its name among them, and a remark to the user or nothing.

    Raises: DataError when it is none, or can be read in two ways.
    """
    if path.is_file():
        if _unpack.form(path):
            return _archive(path, said)
        _refuse_suffix(path)
        return tabular.file(path, said)
    if not path.is_dir():
        raise DataError(f"{path}: found no regular file or folder; {EXPECTED}")
    if known := torchvision.recognised(path):
        dataset, remark = known
        return {"name": "torchvision", "path": str(path), "dataset": dataset}, remark
    if deliveries := _deliveries(path):
        return _inbox(path, deliveries, said)
    papers = _papers(path, path)
    if "checksums" in papers or papers.get("licence_file", "").lower().endswith(".txt"):
        return _delivered(path, path, papers, said)
    return _folder(path, said)


def _refuse_suffix(path: Path) -> None:
    """Raises: DataError for a file that neither its first bytes nor its name say to be readable."""
    suffix = path.suffix.lower()
    if suffix not in (".txt", *_records.SUFFIXES):
        way_out = WAYS_OUT.get(suffix, "save it as one of these")
        raise DataError(f"{path}: found the suffix {suffix or 'none'}; {EXPECTED}; {way_out}")


def _deliveries(path: Path) -> list[Path]:
    """The deliveries in an inbox, none where it may be something else.

    These are archives, and folders that hold no image themselves as a class does; or folders, each with a list of check
    sums.
    """
    archives, folders = [], []
    for entry in _tree.listed(path):
        if entry.name.lower().endswith((*inbox.UNFINISHED, *_checksums.BESIDE)):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
        elif entry.is_file(follow_symlinks=False) and _is_archive(Path(entry.path)):
            archives.append(Path(entry.path))
        elif Path(entry.name).stem.lower() not in (*LICENCES, "readme"):
            return []
    if any(one.name.lower() in _tree.SPLIT_FOLDERS or _holds_images(one) for one in folders):
        return []
    return archives + folders if archives or all("checksums" in _papers(one, one) for one in folders) else []


def _holds_images(folder: Path) -> bool:
    return any(_tree.is_image(entry.name) for entry in _tree.listed(folder))


def _is_archive(path: Path) -> bool:
    try:
        return _unpack.form(path) is not None
    except DataError:  # of a kind that is not read: the inbox refuses it alone
        return True


def _inbox(path: Path, deliveries: Sequence[Path], said: Columns) -> tuple[Block, str]:
    """The block of an inbox: the layout that most of its deliveries have, and check sums where all bring a list."""
    found: dict[str, Block] = {}
    for delivery in deliveries:
        try:
            found[delivery.name] = (_archive if delivery.is_file() else _unwrapped)(delivery, said)[0]
        except DataError as error:
            fault = error
    if not found:
        raise fault
    layout = _commonest([block["layout"] for block in found.values()])
    lists = {name: block["checksums"] for name, block in found.items() if "checksums" in block}
    listed = _commonest(list(lists.values())) if lists else None
    block: Block = {"name": "inbox", "path": str(path), "layout": layout}
    block |= {"names": "gb18030"} if any("names" in one for one in found.values()) else {}
    licences = [one["licence_file"] for one in found.values() if "licence_file" in one]
    block |= {"licence_file": licences[0]} if licences and licences == licences[:1] * len(deliveries) else {}
    if listed and len(lists) == len(deliveries):
        return block | {"checksums": listed}, ""
    unlisted = [one.name for one in deliveries if one.name not in lists]
    some = f"no check sums are compared, since {unlisted[0]} brings no list; `source.checksums: {listed}` wants one"
    return block, some if listed else ""


def _unwrapped(path: Path, said: Columns) -> tuple[Block, str]:
    return _delivered(path, path, {}, said)


def _commonest(values: Sequence[Any]) -> Any:
    return max(values, key=values.count)


def _archive(path: Path, said: Columns) -> tuple[Block, str]:
    names, root = _unpacked(path)
    block, remark = _delivered(path, root, {}, said)
    return block | ({"names": names} if names else {}), remark


def _unpacked(path: Path) -> tuple[Names | None, Path]:
    limits = Settings(str(path)).limits
    try:
        return None, _unpack.unpack(path, None, limits).root
    except NamesError:
        return "gb18030", _unpack.unpack(path, "gb18030", limits).root


def _delivered(path: Path, root: Path, papers: Mapping[str, str], said: Columns) -> tuple[Block, str]:
    """The block of a delivery at `path`, whose files lie, unpacked, at `root`."""
    place = _innermost(root)
    papers = papers or _papers(root, root) or _papers(root, place)
    tables = [item for item in _tree.walk(place) if _sort(item) == "table"]
    alone = len(tables) == 1 and not any(
        _sort(item) in ("image", "text") for item in _tree.walk(place, papers.values())
    )
    inner, remark = tabular.file(tables[0].path, said) if alone else _folder(place, said, papers.values())
    inside = Path(inner["path"]).resolve().relative_to(root.resolve()).as_posix()
    layout = {"name": inner["name"]} | ({} if inside == "." else {"path": inside})
    layout |= {key: value for key, value in inner.items() if key not in ("name", "path")}
    return {"name": "delivery", "path": str(path), "layout": layout, **papers}, remark


def _innermost(root: Path) -> Path:
    """The folder inside the folders that an archive or a bag wraps around its data."""
    while True:
        inner = [name for name in _tree.folders(root) if name.lower() not in _tree.SPLIT_FOLDERS]
        files = [item for item in _tree.walk(root) if len(item.parts) == 1 and _sort(item) != "other"]
        files = [item for item in files if not _checksums.known(item.name) and not _bag(item.name)]
        if len(inner) != 1 or len(_tree.folders(root)) > 1 or files:
            return root
        below = root / inner[0]
        if not _tree.folders(below) and any(_tree.is_image(entry.name) for entry in _tree.listed(below)):
            return root  # images in it: a class
        root = below


def _bag(name: str) -> bool:
    return name in ("bagit.txt", "bag-info.txt") or name.startswith(("manifest-", "tagmanifest-"))


def _papers(root: Path, place: Path) -> dict[str, str]:
    """The settings for a list of check sums and a licence that lie in a folder."""
    found: dict[str, str] = {}
    for entry in _tree.listed(place):
        name = (place / entry.name).relative_to(root).as_posix()
        if _checksums.known(entry.name):
            found.setdefault("checksums", name)
        elif Path(entry.name).stem.lower() in LICENCES and entry.is_file(follow_symlinks=False):
            found.setdefault("licence_file", name)
    return found


def _sort(item: _tree.Found) -> str:
    """image, text, table or other: what a file's name says."""
    if item.refused:
        return "other"
    name = item.parts[-1].lower()
    suffixes = {".txt": "text", **dict.fromkeys(_records.SUFFIXES, "table")}
    return "image" if _tree.is_image(name) else suffixes.get(Path(name).suffix, "other")


def _folder(path: Path, said: Columns, leave_out: Iterable[str] = ()) -> tuple[Block, str]:
    left_out = set(leave_out)
    items = [item for item in _tree.walk(path, left_out) if _sort(item) != "other"]
    found = Counter(map(_sort, items))
    tables = [item for item in items if _sort(item) == "table"]
    if found["image"] and found["image"] >= found["text"]:
        beside = [item for item in tables if len(item.parts) == 1]
        for item in beside:
            if block := tabular.image_table(item.path, said):
                return block, ""
        unused = [f"{item.name} is left out: found no columns of images and their labels in it" for item in beside[:3]]
        return {"name": "image_folder", "path": str(path)}, "; ".join([*unused, *_like_deliveries(path)])
    if found["text"]:
        if all(_is_split(item) and b"\t" in _first_line(item.path) for item in items):
            return tabular.text_table_of(path, said, "tsv")
        return _files(path, said, left_out)
    if tables and all(map(_is_split, tables)):
        return tabular.text_table_of(path, said)
    hint = f"; run `danlu init {tables[0].path}`" if tables else "; correct the path"
    other = sum(1 for _ in _tree.walk(path)) - len(items)
    files = f"{other:,} other file{'s' * (other != 1)}" if other else "no other file"
    there = f"{len(tables)} table{'s' * (len(tables) != 1)} and {files}" if items or other else "an empty folder"
    raise DataError(f"{path}: found {there}; {EXPECTED}{hint}")


def _like_deliveries(path: Path) -> list[str]:
    """A remark where all folders hold the same folders, so that each may be a delivery and not a class."""
    inner = [set(_tree.folders(path / name)) for name in _tree.folders(path) if name.lower() not in _tree.SPLIT_FOLDERS]
    if not inner or len(set.intersection(*inner)) < 2:
        return []
    first = path / _tree.folders(path)[0]
    return [f"if {first} is a delivery and no class, write `source: {{name: inbox, …}}` (docs/sources.md, An inbox)"]


def _is_split(item: _tree.Found) -> bool:
    return len(item.parts) == 1 and item.path.stem.lower() in _tree.SPLIT_FOLDERS


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline(1 << 20)


def _files(path: Path, said: Columns, left_out: set[str]) -> tuple[Block, str]:
    files = (file for _, file in text_files.files(text_files.Config(str(path)), left_out))
    encoding, remark = tabular.encoding_of(files, said)
    return {"name": "text_files", "path": str(path), "encoding": encoding}, remark
