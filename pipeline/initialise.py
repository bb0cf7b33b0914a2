"""Looks at a folder or a file of a user's own data and writes the block of a task into params.yaml."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import artifacts, columns, config
from pipeline.errors import ConfigError, DataError
from pipeline.sources import _encodings, _place, _records, _tree, image_folder, text_files, text_table
from pipeline.sources._lines import Encoding
from pipeline.tally import Tally

MODELS = {"image": "resnet", "text": "textcnn"}
EXPECTED = (
    "expected a folder of images, one folder a class; a CSV, TSV or JSONL table; or a folder of .txt, one a class"
)
Block = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What the user says about a table or its encoding; None where it is to be found out."""

    text: str | None = None
    label: str | None = None
    encoding: str | None = None


def initialise(path: Path, name: str | None = None, params: Path = config.PARAMS, said: Columns = Columns()) -> str:
    """Adds the task that a folder or file gives and returns what was found, a line or two for the user.

    Raises: ConfigError, DataError.
    """
    block, found = look(path, said)
    name = name or suggested_name(path, block["kind"])
    add(params, name, block)
    return f"{params}: added the task {name} ({block['kind']}): {found}; `danlu run {name}` runs it"


def look(path: Path, said: Columns = Columns()) -> tuple[Block, str]:
    """The block for the data at `path`, and what was found there, in words."""
    path = _from_root(path)
    try:
        _place.check_inside(str(path))
    except ValueError as error:
        raise ConfigError(f"danlu init: {error}") from None
    if not path.exists():
        raise ConfigError(f"danlu init: found nothing at {path}; {EXPECTED}")
    source, remark = _source(path, said)
    module = {"image_folder": image_folder, "text_files": text_files, "text_table": text_table}[source["name"]]
    settings = {key: value for key, value in source.items() if key != "name"}
    tally = Tally()
    for example in module.read(config.parse(module.Config, settings, "danlu init")):
        tally.add(example.id, example.label, example.refused)
    if len(tally.labels) < 2:
        raise DataError(
            f"{path}: found {tally}; expected examples of at least 2 classes; add them, or correct the path"
        )
    return _block(module.KIND, source), "; ".join(filter(None, [str(tally), remark]))


def _from_root(path: Path) -> Path:
    """The path relative to the project's root where it lies inside, else absolute."""
    whole, root = os.path.abspath(path), os.getcwd()
    return Path(os.path.relpath(whole, root) if whole.startswith(root + os.sep) else whole)


def _block(kind: str, source: Mapping[str, Any]) -> Block:
    block: Block = {section: {} for section in config.SECTIONS}
    return block | {"kind": kind, "source": dict(source), "model": {"name": MODELS[kind]}}


def _source(path: Path, said: Columns) -> tuple[Block, str]:
    """The settings of the source, its name among them, and a remark to the user or nothing."""
    if path.is_file():
        return _table(path, said)
    if not path.is_dir():
        raise DataError(f"{path}: found no regular file or folder; {EXPECTED}")
    found = Counter(_sort(item) for item in _tree.walk(path))
    if found["image"] and found["image"] >= found["text"]:
        return {"name": "image_folder", "path": str(path)}, ""
    if found["text"]:
        return _files(path, said)
    tables = [item for item in _tree.walk(path) if _sort(item) == "table"]
    if tables and all(item.path.stem.lower() in _tree.SPLIT_FOLDERS for item in tables):
        return _table(path, said)
    hint = f"; run `danlu init {tables[0].path}`" if tables else "; correct the path"
    raise DataError(f"{path}: found {found['other']:,} other files and {len(tables)} tables; {EXPECTED}{hint}")


def _sort(item: _tree.Found) -> str:
    if item.refused:
        return "other"
    name = item.parts[-1].lower()
    suffixes = {".txt": "text", **dict.fromkeys(_records.SUFFIXES, "table")}
    return "image" if _tree.is_image(name) else suffixes.get(Path(name).suffix, "other")


def _encoding(paths: Iterator[Path], said: Columns) -> tuple[Encoding, str]:
    if said.encoding:
        return _encodings.named(said.encoding), ""
    found: dict[Encoding, Path] = {}
    remarks = []
    for path in paths:
        # A file of ASCII alone reads the same in all but utf-16, and says nothing.
        encoding, remark = _encodings.detect(path)
        if encoding != "utf-8" or not path.read_bytes().isascii():
            found.setdefault(encoding, path)
        remarks.append(remark)
    if len(found) > 1:
        shown = ", ".join(f"{encoding} in {path.name}" for encoding, path in found.items())
        raise DataError(f"{next(iter(found.values())).parent}: found {shown}; expected one encoding; convert the files")
    return next(iter(found), "utf-8"), "; ".join(filter(None, remarks))


def _files(path: Path, said: Columns) -> tuple[Block, str]:
    files = (file for _, file in text_files.files(text_files.Config(str(path))))
    encoding, remark = _encoding(files, said)
    return {"name": "text_files", "path": str(path), "encoding": encoding}, remark


def _table(path: Path, said: Columns) -> tuple[Block, str]:
    """The settings for a table: format and header where they differ, columns, encoding."""
    asked = text_table.Config(str(path))
    if path.suffix.lower() == ".txt":
        asked = replace(asked, format="tsv")
    encoding, remark = _encoding((file for _, file in text_table.files(asked)), said)
    asked = replace(asked, encoding=encoding)
    _refuse_array(asked)
    asked = replace(asked, header=_header(asked))
    surveyed = columns.survey(_rows(asked))
    if not surveyed:
        raise DataError(f"{path}: found no row that can be read; {EXPECTED}")
    text, label = columns.choose(surveyed, str(path), said.text, said.label)
    block: Block = {"name": "text_table", "path": str(path), "text_column": text, "label_column": label}
    split = columns.split(surveyed)
    block |= {"split_column": split} if split and split not in (text, label) else {}
    block |= {"format": asked.format} if asked.format != "by_suffix" else {}
    block |= {"header": asked.header} if asked.header != "first_line" else {}
    return block | {"encoding": encoding}, remark


def _refuse_array(asked: text_table.Config) -> None:
    for _, path in text_table.files(asked):
        if path.suffix.lower() == ".json" and path.read_bytes()[:100].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"["):
            raise DataError(f"{path}: found one JSON array; expected JSON Lines, one object a line; convert it")


def _rows(asked: text_table.Config) -> Iterator[Mapping[str, str]]:
    for _, path in text_table.files(asked):
        for record in text_table.records(asked, path):
            if not record.refused:
                yield {name: cell.text if cell else "" for name, cell in record.cells.items()}


def _header(asked: text_table.Config) -> _records.Header:
    first = next(path for _, path in text_table.files(asked))
    if asked.format == "by_suffix" and _records.format_of(first) == "jsonl":
        return "first_line"
    rows = list(_rows(replace(asked, header="none")))
    return "none" if len(rows) > 1 and columns.first_line_is_data(rows) else "first_line"


def suggested_name(path: Path, kind: str) -> str:
    """A task name made of the file's or folder's; `images` or `texts` where that leaves nothing."""
    stem = path.resolve().stem if path.is_file() else path.resolve().name
    name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:40]
    return name if re.match(r"[a-z]", name) else f"{kind}s"


def add(params: Path, name: str, block: Block) -> None:
    """Writes the block into params.yaml, or makes that file; what else stands there keeps its order and comments.

    Raises: ConfigError for a name that is taken or not allowed; the file is then as it was.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.util import load_yaml_guess_indent

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    text = params.read_text("utf-8") if params.exists() else ""
    try:
        existing, indent, offset = load_yaml_guess_indent(text, yaml=yaml)
    except YAMLError as error:
        raise ConfigError(f"{params}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    settings: Any = CommentedMap() if existing is None else existing
    if not isinstance(settings, dict) or not isinstance(settings.get("tasks") or {}, dict):
        raise ConfigError(f"{params}: found no mapping `tasks:`; expected `tasks: {{name: …}}`; correct it")
    if not settings.get("tasks"):
        settings["tasks"] = CommentedMap()
    if name in settings["tasks"]:
        raise ConfigError(f"{params}: tasks.{name}: found such a task already; expected a new name; say --name NAME")
    settings["tasks"][name] = block
    yaml.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None else offset)
    with artifacts.whole(params) as building:
        with building.open("w", encoding="utf-8") as file:
            file.write(text if existing is None else "")  # comments alone, which no mapping carries
            yaml.dump(settings, file)
        config.load(building)
