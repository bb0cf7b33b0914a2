"""A run's journal: one JSON record a line, appended and flushed, from which MLflow is fed later.

`<key>.jsonl` holds the records, `<key>.sent` how far MLflow has them, `<key>.files/` copies of artefacts.
The writer holds a lock on the journal while it lives, so that another process can tell a leftover
from a run in progress.
"""

import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline import artifacts


class Journal:
    """The journal of one run; `create` makes one to write to, `adopt` takes over a dead writer's."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.key = path.stem
        self._file = file
        self._guard = threading.Lock()

    @classmethod
    def create(cls, folder: Path, key: str) -> "Journal":
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{key}.jsonl"
        while True:
            file = path.open("ab")
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return cls(path, file)
            file.close()  # another process took it for a dead writer's between the two calls

    @classmethod
    def adopt(cls, path: Path) -> "Journal | None":
        """The journal, locked, or None while its writer lives (or when another process has just delivered it)."""
        try:
            file = path.open("rb+")
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        if not path.exists():
            file.close()
            return None
        file.seek(0, os.SEEK_END)
        return cls(path, file)

    @property
    def files(self) -> Path:
        return self.path.with_suffix(".files")

    @property
    def retired(self) -> bool:
        return not self.path.exists()

    @property
    def mark(self) -> Path:
        return self.path.with_suffix(".sent")

    def append(self, record: dict[str, Any]) -> None:
        line = json.dumps({"time": int(time.time() * 1000), **record}, ensure_ascii=False) + "\n"
        with self._guard:
            self._file.write(line.encode("utf-8", "replace"))
            self._file.flush()

    def keep(self, path: Path, to: str) -> None:
        """Copies a file or folder beside the journal, since what a stage writes may move before it is delivered."""
        target = self.files / to / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)

    def sent(self) -> dict[str, Any]:
        """{"run_id": MLflow's id or "", "offset": bytes of the journal that MLflow has}."""
        try:
            return dict(artifacts.read_json(self.mark))
        except (OSError, ValueError):
            return {"run_id": "", "offset": 0}

    def acknowledge(self, run_id: str, offset: int) -> None:
        artifacts.write_json(self.mark, {"run_id": run_id, "offset": offset})

    def records(self, offset: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """The records from a byte offset on, each with the offset after it; a torn last line is left out."""
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    yield offset, json.loads(line)
                except ValueError:
                    continue  # a line torn by a full disk, then written on

    def release(self) -> None:
        self._file.close()

    def retire(self) -> None:
        """Moves a delivered journal to `sent/` and drops its copies."""
        shelf = self.path.parent / "sent"
        shelf.mkdir(exist_ok=True)
        shutil.rmtree(self.files, ignore_errors=True)
        self.path.replace(shelf / self.path.name)
        if self.mark.exists():
            self.mark.replace(shelf / self.mark.name)
        self.release()
