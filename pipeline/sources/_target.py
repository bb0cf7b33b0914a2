"""Where each entry of an archive may be written: below one folder, once, under a name that every system tells apart."""

import re
import unicodedata
from dataclasses import dataclass, field

from pipeline.sources._entry import Budget, Entry


@dataclass
class Places:
    """Where each entry goes below the target, or why it may not."""

    budget: Budget
    files: dict[str, str] = field(default_factory=dict)  # by what a file system that ignores case takes for the same
    folders: dict[str, str] = field(default_factory=dict)

    def judge(self, entry: Entry) -> tuple[tuple[str, ...], str | None]:
        parts, reason = _safe(entry.name, self.budget.limits.depth)
        if entry.refused or reason:
            return parts, entry.refused or reason
        above = parts if entry.folder else parts[:-1]
        for k in range(1, len(above) + 1):
            if reason := self._folder("/".join(above[:k])):
                return parts, reason
        return parts, None if entry.folder else self._file("/".join(parts))

    def _folder(self, name: str) -> str | None:
        key = _same(name)
        if key in self.files:
            return f"{self.files[key]} is a file already"
        if key not in self.folders:
            self.budget.enter()
            self.folders[key] = name
        return None if self.folders[key] == name else f"differs in case alone from {self.folders[key]}"

    def _file(self, name: str) -> str | None:
        key = _same(name)
        if not name or key in self.folders:
            return "a folder has this name already"
        there = self.files.setdefault(key, name) if key in self.files else None
        self.files.setdefault(key, name)
        if there is None:
            return None
        return "another entry has this name" if there == name else f"differs in case alone from {there}"


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def _safe(name: str, depth: int) -> tuple[tuple[str, ...], str | None]:
    """The parts of an entry's path, and why nothing may be written there, if so."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return parts, "an absolute path"
    if any(".." in part.split("\\") for part in parts):
        return parts, "a path out of the archive"
    if "\0" in name:
        return parts, "a NUL in its name"
    if len(parts) > depth:
        return parts, f"deeper than {depth} folders"
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(lengths, default=0) > 255 or sum(lengths) + len(parts) > 2000:
        return parts, "a name of more than 255 bytes, or a path of more than 2,000"
    return parts, None
