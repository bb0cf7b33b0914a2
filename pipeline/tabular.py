"""Finds out how a table is to be read, for `danlu init`: its columns, format, header and encoding."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import columns
from pipeline.errors import DataError
from pipeline.sources import _encodings, _lines, _records, _tree, text_table
from pipeline.sources._lines import Encoding

LOOKED_AT = 200  # rows of which a column is held against the files there are
MOSTLY = 0.9  # of these rows name a file
SEPARATORS = ("\t", ";", "|", "；", "，")  # what stands between cells where no comma does
Block = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What the user says about a table or its encoding; None where it is to be found out."""

    text: str | None = None
    label: str | None = None
    encoding: str | None = None


def encoding_of(paths: Iterator[Path], said: Columns) -> tuple[Encoding, str]:
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


def file(path: Path, said: Columns) -> tuple[Block, str]:
    """The block for a table of images where a column names those beside it, else of texts; and a remark or nothing."""
    asked, remark = _asked(path, said, "tsv" if path.suffix.lower() == ".txt" else None)
    images = None if said.text else _images(asked, said)
    return images or _texts(asked, said), remark


def image_table(path: Path, said: Columns) -> Block | None:
    """The block for a table of which a column names the images beside it; None where none does."""
    return _images(_asked(path, said)[0], said)


def text_table_of(path: Path, said: Columns, form: _records.Format | None = None) -> tuple[Block, str]:
    """The block for a table of texts, or for a folder of them; and a remark or nothing."""
    asked, remark = _asked(path, said, form)
    return _texts(asked, said), remark


def _images(asked: text_table.Config, said: Columns) -> Block | None:
    path = Path(asked.path)
    files = columns.naming(rows(asked), lambda name: _is_image(path.parent, name), LOOKED_AT, MOSTLY)
    if files is None:
        return None
    surveyed = columns.survey(rows(asked))
    block: Block = {"name": "image_table", "path": str(path.parent), "table": path.name, "path_column": files}
    soft = None if said.label or columns.labelled(surveyed, files) else _soft(asked)
    if soft:
        return block | soft | _groups(surveyed, files) | _reading(asked)
    try:
        label = columns.choose_label(surveyed, str(path), files, said.label)
    except DataError:
        if said.label:
            raise
        return None
    return block | {"label_column": label} | _groups(surveyed, files, label) | _reading(asked)


def _soft(asked: text_table.Config) -> Block | None:
    """The settings for ratings, one column a class, in the place of labels; None where there are none."""
    found = columns.probabilities(lambda: rows(asked), MOSTLY)
    return {"label_column": None, "probability_columns": found} if found else None


def _is_image(folder: Path, name: str) -> bool:
    return _tree.is_image(name) and not _tree.at(folder, name).refused


def _texts(asked: text_table.Config, said: Columns) -> Block:
    surveyed = columns.survey(rows(asked))
    if not surveyed:
        raise DataError(f"{asked.path}: found no row that can be read; expected a header and rows; correct it")
    text, label = columns.choose(surveyed, asked.path, said.text, said.label)
    block: Block = {"name": "text_table", "path": asked.path, "text_column": text, "label_column": label}
    return block | _groups(surveyed, text, label) | _reading(asked)


def _asked(path: Path, said: Columns, form: _records.Format | None = None) -> tuple[text_table.Config, str]:
    """How a table, or a folder of tables, is to be read, its columns aside; and a remark."""
    asked = text_table.Config(str(path))
    asked = replace(asked, format=form) if form else asked
    if _parquet(asked):
        return asked, ""
    encoding, remark = encoding_of((file for _, file in text_table.files(asked)), said)
    asked = _separated(replace(asked, encoding=encoding))
    _refuse_array(asked)
    return replace(asked, header=_header(asked)), remark


def _separated(asked: text_table.Config) -> text_table.Config:
    """The same, read as TSV where the first line has tabs and no comma.

    Raises: DataError for a table with another separator, for which there is no setting.
    """
    first = next(path for _, path in text_table.files(asked))
    if asked.format != "by_suffix" or _records.format_of(first) != "csv":
        return asked
    encoding = _encodings.of(first, asked.encoding)
    line = next((_lines.decode(raw, encoding)[0] for _, raw in _lines.read(first, encoding)), "")
    found = next((mark for mark in SEPARATORS if mark in line), "") if "," not in line else ""
    if not found:
        return asked
    if found == "\t":
        return replace(asked, format="tsv")
    raise DataError(
        f"{first}: found the first line {line[:80]!r}, whose separator seems to be {found!r}; expected commas or tabs; "
        "save the table as CSV with commas"
    )


def _groups(surveyed: Mapping[str, columns.Column], *taken: str) -> Block:
    """The columns that say which rows belong together and on which side of the split."""
    found = {"group_column": columns.group(surveyed), "split_column": columns.split(surveyed)}
    return {setting: column for setting, column in found.items() if column and column not in taken}


def words(source: Mapping[str, Any]) -> str:
    """What the block's columns mean, for the user to check; nothing for a source without columns."""
    meant = {
        "text_column": "text {}",
        "path_column": "image {}",
        "label_column": "label {}",
        "probability_columns": "probabilities of the classes {}",
        "group_column": "group {}, whose rows stay on one side of the split",
        "split_column": "split {}, which is kept",
    }
    named = source.get("layout", source)
    shown = {key: ", ".join(value) if isinstance(value, list) else value for key, value in named.items()}
    found = [meaning.format(shown[key]) for key, meaning in meant.items() if shown.get(key)]
    return "columns: " + "; ".join(found) if found else ""


def _reading(asked: text_table.Config) -> Block:
    block: Block = {"format": asked.format} if asked.format != "by_suffix" else {}
    block |= {"header": asked.header} if asked.header != "first_line" else {}
    return block if _parquet(asked) else block | {"encoding": asked.encoding}


def _parquet(asked: text_table.Config) -> bool:
    return any(path.suffix.lower() == ".parquet" for _, path in text_table.files(asked))


def _refuse_array(asked: text_table.Config) -> None:
    for _, path in text_table.files(asked):
        if path.suffix.lower() == ".json" and path.read_bytes()[:100].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"["):
            raise DataError(f"{path}: found one JSON array; expected JSON Lines, one object a line; convert it")


def rows(asked: text_table.Config) -> Iterator[Mapping[str, str]]:
    """Every row that can be read, by the columns' names."""
    for _, path in text_table.files(asked):
        for record in text_table.records(asked, path):
            if not record.refused:
                yield {name: cell.text if cell else "" for name, cell in record.cells.items()}


def _header(asked: text_table.Config) -> _records.Header:
    first = next(path for _, path in text_table.files(asked))
    if asked.format == "by_suffix" and _records.format_of(first) == "jsonl":
        return "first_line"
    held = list(rows(replace(asked, header="none")))
    return "none" if len(held) > 1 and columns.first_line_is_data(held) else "first_line"
