"""The folder that a served model carries: its files and `danlu.json`, which names the sha256 of each.

The bundle's own sha256 is that of danlu.json, so one word stands for everything that shapes an answer.
Standard library alone: this file travels with the served model.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import RegistryError

MANIFEST = "danlu.json"
FORMAT = 1  # raised when the same files would be answered from differently


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build(out: Path, settings: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """Fills the folder `out` with the files, under the names given, and danlu.json; returns the bundle's sha256.

    Equal settings and files give an equal sha256, whenever and wherever it is built.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        shutil.copyfile(path, out / name)
    record = {**settings, "format": FORMAT, "files": {name: file_sha256(out / name) for name in files}}
    text = json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    (out / MANIFEST).write_text(text + "\n", "utf-8")
    return file_sha256(out / MANIFEST)


def verify(folder: Path, sha256: str | None = None) -> dict[str, Any]:
    """danlu.json's record, after every file, and the manifest itself where its sha256 is known, has been checked.

    Raises: RegistryError for a missing, added or changed file.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise RegistryError(f"{folder}: found no {MANIFEST}; expected a served model's files; register the model again")
    _same(manifest, sha256 or file_sha256(manifest))
    record: dict[str, Any] = json.loads(manifest.read_text("utf-8"))
    if record["format"] != FORMAT:
        raise RegistryError(f"{manifest}: found format {record['format']}; expected {FORMAT}; register the model again")
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    if found != set(record["files"]):
        names = ", ".join(sorted(found ^ set(record["files"])))
        raise RegistryError(
            f"{folder}: files missing or added: {names}; expected those that {MANIFEST} names; register again"
        )
    for name, expected in record["files"].items():
        _same(folder / name, expected)
    return record


def _same(path: Path, expected: str) -> None:
    found = file_sha256(path)
    if found != expected:
        raise RegistryError(
            f"{path}: found sha256 {found[:12]}…; expected {expected[:12]}…; "
            "the file was changed after it was registered: register the model again"
        )
