"""Paraphrases of the train split's texts by a command that the user gives, such as a translation there and back.

The command reads a JSON line {"text": …, "copies": C} for each text and writes a JSON line {"texts": [C of them]}, in
the same order; a blank one or null says that it has none.
"""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.config import setting
from pipeline.errors import DataError

LEFT = 5.0  # seconds that what a command has started may hold its pipes open after its end
SHOWN = 300  # characters of what a command said that an error quotes


@dataclass(frozen=True)
class Config:
    command: tuple[str, ...] = ()  # program and arguments, run without a shell; none: no paraphrases
    copies: int = setting(1, low=1, high=100, unit="paraphrases of a text")
    patience: float = setting(600.0, above=0, high=86_400, unit="seconds without a line after which a command hangs")


def ask(texts: Sequence[str], config: Config, scratch: Path) -> Iterator[tuple[str, ...]]:
    """The paraphrases of each text, as the command gives them, blank where it has none; `scratch` is a folder.

    Raises: DataError for a command that is missing, dies, hangs, or answers with another number of lines or texts.
    """
    where = f"features.paraphrases.command {' '.join(config.command)}"
    with (scratch / "said").open("w+b") as said:
        try:
            process = subprocess.Popen(config.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            raise DataError(f"{where}: {error.strerror}; expected a program; correct the command") from None
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        feeding = threading.Thread(target=_feed, args=(process.stdin, texts, config.copies), daemon=True)
        collecting = threading.Thread(target=_collect, args=(process.stdout, lines), daemon=True)
        try:
            feeding.start()
            collecting.start()
            yield from _answers(process, lines, texts, config, where, said)
        finally:
            process.kill()
            process.wait()
            for thread in (feeding, collecting):
                thread.join(LEFT)


def _answers(
    process: "subprocess.Popen[bytes]",
    lines: "queue.SimpleQueue[bytes | None]",
    texts: Sequence[str],
    config: Config,
    where: str,
    said: IO[bytes],
) -> Iterator[tuple[str, ...]]:
    for number in range(1, len(texts) + 1):
        line = _next(lines, config, where, number)
        if line is None:
            raise DataError(
                f"{where}: ended {_end(process, config)} after {number - 1:,} lines{_last(said)}; expected "
                f"{len(texts):,}, one a text (line {number} is for {texts[number - 1][:40]!r}); mend the command: what "
                "it has answered is kept"
            )
        yield _read(line, config.copies, where, number)
    if _next(lines, config, where, len(texts) + 1) is not None:
        raise DataError(f"{where}: line {len(texts) + 1:,} is one too many; expected one a text; mend the command")
    if process.wait(config.patience):
        raise DataError(f"{where}: ended {_end(process, config)}{_last(said)}; expected 0; mend the command")


def _feed(file: IO[bytes], texts: Sequence[str], copies: int) -> None:
    try:
        with file:
            for text in texts:
                file.write(json.dumps({"text": text, "copies": copies}).encode() + b"\n")
    except (OSError, ValueError):  # it has ended, or was ended: the reader of its answers tells
        pass


def _collect(file: IO[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    with file:
        for line in file:
            lines.put(line)
    lines.put(None)


def _next(lines: "queue.SimpleQueue[bytes | None]", config: Config, where: str, number: int) -> bytes | None:
    try:
        return lines.get(timeout=config.patience)
    except queue.Empty:
        raise DataError(
            f"{where}: no line {number:,} for {config.patience:g} s; expected one; flush what it writes, or raise "
            "features.paraphrases.patience"
        ) from None


def _read(line: bytes, copies: int, where: str, number: int) -> tuple[str, ...]:
    wrong = DataError(
        f"{where}: line {number:,} is {line[:80].decode('utf-8', 'replace').rstrip()!r}; expected a JSON object "
        f'{{"texts": […]}} with {copies} texts; mend the command'
    )
    try:
        found: Any = json.loads(line)
    except ValueError:
        raise wrong from None
    given = found.get("texts") if isinstance(found, dict) else None
    if not isinstance(given, list) or len(given) != copies or not all(isinstance(t, str | None) for t in given):
        raise wrong
    return tuple(text or "" for text in given)


def _end(process: "subprocess.Popen[bytes]", config: Config) -> str:
    try:
        return f"with {process.wait(config.patience)}"
    except subprocess.TimeoutExpired:
        return "its output"


def _last(said: IO[bytes]) -> str:
    """The last line that the command wrote to its errors."""
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return f" ({lines[-1][:SHOWN]})" if lines else ""
