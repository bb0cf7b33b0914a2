"""Versions of a registered model, and who is champion: one decision at a time, each on record.

MLflow has no compare-and-set, so aliases move only inside `deciding`, under a file lock. The history
(`.danlu/registry/<name>.history.jsonl`, and tags on the registered model) is written before an alias
moves: a process killed in between leaves a line that the next one corrects, never a silent change.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote, urlparse

from pipeline.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHA, CODE, DECIDED, LOOKS, FILES = (f"danlu.{name}" for name in ("sha256", "code", "decided", "test_looks", "files"))
ALIASES = ("champion", "challenger")


@dataclass(frozen=True)
class Version:
    """One registered version; `sha256` is its bundle's, empty for one that this pipeline did not make."""

    number: int
    sha256: str
    code: str
    run_id: str
    uri: str
    here: bool  # False where its files are known to be gone


class Models:
    """The versions and aliases of one registered model. Aliases move inside `deciding` alone."""

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.client = client
        self.name = name

    def versions(self) -> list[Version]:
        """Oldest first."""
        found = self.client.search_model_versions(f"name='{self.name}'")
        return sorted((self._version(item) for item in found), key=lambda version: version.number)

    def with_sha256(self, sha256: str, code: str = "") -> Version | None:
        """The newest version with this bundle (and this serving code, where named) whose files are there."""
        for version in reversed(self.versions()):
            if version.here and version.sha256 == sha256 and code in ("", version.code):
                return version
        return None

    def holder(self, alias: str) -> Version | None:
        """The version that an alias names."""
        number = self.aliases().get(alias)
        return next((version for version in self.versions() if version.number == number), None)

    def aliases(self) -> dict[str, int]:
        if not self._exists():
            return {}
        return {alias: int(number) for alias, number in self.client.get_registered_model(self.name).aliases.items()}

    def aliases_of(self, version: Version) -> list[str]:
        return sorted(alias for alias, number in self.aliases().items() if number == version.number)

    def add(self, uri: str, run_id: str, sha256: str, code: str) -> Version:
        """Registers a logged model."""
        if not self._exists():
            self.client.create_registered_model(self.name)
        tags = {SHA: sha256, CODE: code, FILES: self._files(uri)}
        model_id = uri.removeprefix("models:/")
        made = self.client.create_model_version(self.name, uri, run_id, tags=tags, model_id=model_id)
        return self._version(made)

    def looks(self) -> int:
        """How many decisions have looked at the test set."""
        return int(self._tags().get(LOOKS, 0))

    def decided(self) -> str:
        """The sha256 of the bundle that the last decision was about."""
        return self._tags().get(DECIDED, "")

    @contextmanager
    def deciding(self) -> Iterator["Deciding"]:
        """Holds the registry's lock: what is read inside is still true when it is acted on."""
        with store.locked("registry"):
            decision = Deciding(self)
            decision.settle()
            yield decision

    def history(self) -> list[dict[str, Any]]:
        """Every alias change, oldest first; a line torn by a kill is left out."""
        lines = _history_file(self.name).read_bytes().splitlines() if _history_file(self.name).exists() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def _exists(self) -> bool:
        return bool(self.client.search_registered_models(f"name='{self.name}'", max_results=1))

    def _tags(self) -> dict[str, str]:
        return dict(self.client.get_registered_model(self.name).tags) if self._exists() else {}

    def _version(self, item: Any) -> Version:
        files = item.tags.get(FILES, "")
        here = not files or Path(files).is_dir()
        uri = f"models:/{self.name}/{item.version}"
        return Version(int(item.version), item.tags.get(SHA, ""), item.tags.get(CODE, ""), item.run_id, uri, here)

    def _files(self, uri: str) -> str:
        """The local folder of a logged model; empty where its files are kept by a server."""
        location = self.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
        parsed = urlparse(location)
        return unquote(parsed.path) if parsed.scheme in ("", "file") else ""


class Deciding:
    """The right to move aliases, held under the lock."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def settle(self) -> None:
        """Records aliases that are not where the history left them: a killed process's, or moved by hand."""
        recorded: dict[str, int | None] = {}
        for entry in self.models.history():
            recorded[entry["alias"]] = entry["to"]
        actual = self.models.aliases()
        for alias in ALIASES:
            if recorded.get(alias) != actual.get(alias):
                self._write(
                    alias, recorded.get(alias), actual.get(alias), "found so: a change was cut short, or made by hand"
                )

    def move(self, alias: str, version: Version, reason: str, facts: Mapping[str, Any] | None = None) -> None:
        """Points an alias at a version, unless it does already."""
        before = self.models.aliases().get(alias)
        if before == version.number:
            return
        entry = self._write(alias, before, version.number, reason, facts)
        self.models.client.set_registered_model_alias(self.models.name, alias, str(version.number))
        self._tag(entry)

    def drop(self, alias: str, reason: str) -> None:
        """Removes an alias, where there is one."""
        before = self.models.aliases().get(alias)
        if before is None:
            return
        entry = self._write(alias, before, None, reason)
        self.models.client.delete_registered_model_alias(self.models.name, alias)
        self._tag(entry)

    def conclude(self, version: Version, *, looked: bool, at_least: int = 0) -> int:
        """Records what the last decision was about, and one more look at the test set; returns the looks."""
        client, name = self.models.client, self.models.name
        looks = max(self.models.looks(), at_least) + (1 if looked else 0)
        client.set_registered_model_tag(name, LOOKS, str(looks))
        client.set_registered_model_tag(name, DECIDED, version.sha256)
        client.set_model_version_tag(name, str(version.number), DECIDED, "true")
        return looks

    def seen(self, sha256: str) -> bool:
        """Whether a decision has already been made about this bundle."""
        found = self.models.client.search_model_versions(f"name='{self.models.name}'")
        return any(item.tags.get(SHA) == sha256 and item.tags.get(DECIDED) == "true" for item in found)

    def _write(
        self, alias: str, before: int | None, after: int | None, reason: str, facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        entry = {"time": int(time.time() * 1000), "alias": alias, "from": before, "to": after, "reason": reason}
        entry |= facts or {}
        path = _history_file(self.models.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            torn = file.tell() > 0 and _last_byte(file.fileno(), file.tell()) != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return entry

    def _tag(self, entry: Mapping[str, Any]) -> None:
        key = f"danlu.history.{entry['time']}.{entry['alias']}"
        text = json.dumps(entry, ensure_ascii=False)[:5000]
        self.models.client.set_registered_model_tag(self.models.name, key, text)


def _last_byte(handle: int, size: int) -> bytes:
    return os.pread(handle, 1, size - 1)


def _history_file(name: str) -> Path:
    return store.state() / "registry" / f"{name}.history.jsonl"


def all_well(name: str, sha256: str, alias: Literal["champion", "any"] = "champion") -> bool:
    """Whether the bundle is registered, the last decision was about it, and what the aliases name is there.

    alias: whether there has to be a champion, or any alias will do. The default database is read directly,
    since importing MLflow takes 2-3 s.
    """
    uri = store.tracking_uri()
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///"):
        return _asked_well(name, sha256, alias)
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            return _read_well(database, name, sha256, alias)
    except sqlite3.Error:
        return _asked_well(name, sha256, alias)


def _asked_well(name: str, sha256: str, alias: str) -> bool:
    models = Models(store.client(), name)
    held = models.aliases()
    there = {version.number for version in models.versions() if version.here}
    named = bool(held) if alias == "any" else alias in held
    return named and models.decided() == sha256 and bool(models.with_sha256(sha256)) and set(held.values()) <= there


def _read_well(database: sqlite3.Connection, name: str, sha256: str, alias: str) -> bool:
    tags = dict(database.execute("SELECT key, value FROM registered_model_tags WHERE name = ?", (name,)))
    aliases = dict(database.execute("SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)))
    rows = database.execute("SELECT version, key, value FROM model_version_tags WHERE name = ?", (name,))
    versions: dict[int, dict[str, str]] = {}
    for number, key, value in rows:
        versions.setdefault(int(number), {})[key] = value
    held = [int(number) for number in aliases.values()]
    mine = [number for number, found in versions.items() if found.get(SHA) == sha256]
    there = {number for number, found in versions.items() if Path(found.get(FILES) or ".").is_dir()}
    loadable = any(number in there for number in mine) and all(number in there for number in held)
    named = bool(aliases) if alias == "any" else alias in aliases
    return tags.get(DECIDED) == sha256 and named and loadable
