"""Answers from the registered champion: `danlu predict TASK FILE_OR_TEXT…`."""

import base64
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import config
from pipeline.config import Task
from pipeline.errors import DataError, PipelineError
from pipeline.register import Config
from pipeline.sources import _delivery, _encodings, _layout, _lines, _records, text_table
from pipeline.wording import nearest

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 60  # characters of an input that the table shows
WIDEST_FILE = 64 * 2**20  # bytes of a file of texts


@dataclass(frozen=True)
class Answer:
    """`input` is the file's name or the text."""

    input: str
    label: str
    probability: float
    probabilities: dict[str, float]

    @property
    def cells(self) -> tuple[str, str]:
        return self.label, f"{self.probability:.3f}"


@dataclass(frozen=True)
class Labels:
    input: str
    labels: list[str]
    probabilities: dict[str, float]

    @property
    def cells(self) -> tuple[str, str]:
        return ", ".join(self.labels) or "none", " ".join(f"{self.probabilities[name]:.3f}" for name in self.labels)


@dataclass(frozen=True)
class Value:
    input: str
    value: float

    @property
    def cells(self) -> tuple[str, str]:
        return f"{self.value:.6g}", ""


Answered = Answer | Labels | Value


def predict(task: str, inputs: Sequence[str]) -> list[Answered]:
    """The champion's answers to image files, or to texts, files of one text a line and tables such as the task's own.

    Raises: ConfigError for an unknown task, DataError for an input that cannot be read, RegistryError
    without a champion or when it refuses to load.
    """
    block = config.task(task)
    names, rows = _images(inputs) if block.kind == "image" else _texts(inputs, _table(block))
    if not rows:
        raise DataError(f"{task}: found nothing to answer; expected at least one file or text")
    table = _champion(block, rows)
    return _answered(names, table)


def _answered(names: Sequence[str], table: "pd.DataFrame") -> list[Answered]:
    if "value" in table:
        return [Value(name, float(value)) for name, value in zip(names, table["value"], strict=True)]
    rows = table.to_dict("records")
    if "labels" in table:
        return [Labels(name, list(row["labels"]), row["probabilities"]) for name, row in zip(names, rows, strict=True)]
    return [
        Answer(name, row["label"], float(row["probability"]), row["probabilities"])
        for name, row in zip(names, rows, strict=True)
    ]


def show(answers: Sequence[Answered]) -> str:
    """A table for reading: label, its probability, input; or labels and theirs, or the value."""
    cells = [answer.cells for answer in answers]
    widths = [max(len(row[k]) for row in cells) for k in (0, 1)]
    lines = []
    for answer, row in zip(answers, cells, strict=True):
        shown = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        lines.append("  ".join([*shown, _short(answer.input)]))
    return "\n".join(lines)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _images(inputs: Sequence[str]) -> tuple[list[str], list[str]]:
    from pipeline.features import decoding

    rows = []
    for name in inputs:
        try:
            content = decoding.read(Path(os.path.realpath(name)), decoding.Limits())  # the user's own link is meant
            decoding.decode(content)
        except decoding.Undecodable as error:
            raise DataError(f"{name}: {error}") from None
        rows.append(base64.b64encode(content).decode())
    return list(inputs), rows


def _texts(inputs: Sequence[str], asked: text_table.Config | None = None) -> tuple[list[str], list[str]]:
    """asked: how the task's own tables are read, where its source is one."""
    rows: list[str] = []
    for text in inputs:
        if not _is_file(text):
            rows.append(text)
        elif Path(text).suffix.lower() in _records.SUFFIXES:
            rows += _in_table(Path(text), asked)
        else:
            rows += _in_file(Path(text))
    return rows, rows


def _table(task: Task) -> text_table.Config | None:
    """The settings of the task's source, or of the layout inside it, that read a table of texts; None for others."""
    settings: object = task.named("source", "sources")[1]
    if isinstance(settings, _delivery.Settings):
        settings = _layout.settings(settings.layout)
    return settings if isinstance(settings, text_table.Config) else None


def _is_file(text: str) -> bool:
    try:
        return os.path.isfile(text)
    except ValueError:  # a NUL character
        return False


def _require_small(path: Path) -> None:
    if path.stat().st_size > WIDEST_FILE:
        raise DataError(
            f"{path}: found {path.stat().st_size:,} bytes; expected at most {WIDEST_FILE:,}; split the file"
        )


def _in_table(path: Path, asked: text_table.Config | None) -> list[str]:
    """The text column of a table, blank cells left out.

    Raises: DataError where the task's source names no such column, or the table lacks it, or a row cannot be read.
    """
    if asked is None:
        raise DataError(
            f"{path}: found a table, where the task's source names no column of texts; expected a file of one text a "
            "line; save the column as .txt"
        )
    _require_small(path)
    same = path.suffix.lower() == Path(asked.path).suffix.lower()
    own = replace(asked, path=str(path), format=asked.format if same else "by_suffix", encoding="auto")
    found, column = [], asked.text_column
    for record in text_table.records(own, path):
        cell = record.cells.get(column)
        if record.refused == "blank line":
            continue
        if record.refused or (column not in record.cells and record.varies):
            what = record.refused or f"no {column!r}"
            raise DataError(f"{path}:{record.line}: found {what}; expected the text in {column!r}; correct the line")
        if column not in record.cells:
            known = ", ".join(record.cells)
            raise DataError(
                f"{path}: found no column {column!r}{nearest(column, record.cells)}, which source.text_column "
                f"names, but {known}; expected it; rename the column, or save the texts as .txt, one a line"
            )
        if cell and not cell.ok:
            raise DataError(f"{path}:{record.line}: found broken bytes; expected a text; convert the file")
        found.append(cell.text.strip() if cell else "")
    return list(filter(None, found))


def _in_file(path: Path) -> list[str]:
    """The texts of a file, blank lines left out, read as `encoding: auto` is. Raises: DataError for broken bytes."""
    _require_small(path)
    encoding, found = _encodings.of(path, "auto"), []
    for number, raw in _lines.read(path, encoding):
        text, ok = _lines.decode(raw, encoding)
        if not ok:
            raise DataError(f"{path}:{number}: found bytes that are not {encoding}; expected a text; convert the file")
        found.append(text.strip())
    return list(filter(None, found))


def _champion(task: Task, rows: list[str]) -> "pd.DataFrame":
    from pipeline.tracking import champion

    name = task.section("register", Config).name or task.name
    return champion.answer(name, task.kind, rows)


def main(words: Sequence[str]) -> None:
    """`TASK [--json] FILE_OR_TEXT…`; an error is one line and exit code 2."""
    plain = [word for word in words if word != "--json"]
    if len(plain) < 2:
        sys.exit("usage: danlu predict TASK [--json] FILE_OR_TEXT…")
    try:
        answers = predict(plain[0], plain[1:])
    except PipelineError as error:
        print(f"predict: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if "--json" in words:
        print(json.dumps([vars(answer) for answer in answers], ensure_ascii=False, indent=1))
    else:
        print(show(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
