"""Where a source may lie: inside the project by a relative path, or anywhere by an absolute one."""

import os
from pathlib import Path

from pipeline.errors import ConfigError

OUTPUTS = {
    *(
        "raw",
        "validated",
        "docs",
        "splits",
        "order",
        "profiles",
        "examined",
        "prepared",
        "features",
        "baseline",
        "tuned",
        "models",
    ),
    *("compressed", "reports", "registered", "suspects", "metrics", "plots", "report"),
}


def check_inside(path: str) -> None:
    """Raises: ValueError for a relative path that leaves the project or that dvc.yaml cannot name."""
    if not path.isprintable() or "${" in path:  # DVC reads ${…} as a variable
        raise ValueError(f"path: found {path!r}; expected a path without control characters and without ${{")
    inside = os.path.relpath(path).split(os.sep)
    if inside in (["."], ["data"]) or (inside[0] == "data" and inside[1] in OUTPUTS):
        raise ValueError(
            f"path: found {path!r}, where the stages write; expected the data's own place; move them there"
        )
    if not os.path.isabs(path) and os.path.normpath(path).split(os.sep)[0] == "..":
        raise ValueError(f"path: found {path!r}, outside the project; expected a path inside it, or an absolute one")


def existing(path: str, where: str) -> Path:
    """The path, if something is there. Raises: ConfigError naming the setting `where`."""
    found = Path(path)
    if not os.path.lexists(found):
        raise ConfigError(
            f"{where}.path: found {path!r}, which is missing; expected the data's file or folder; correct it"
        )
    return found


def hashable(root: Path, where: str) -> None:
    """DVC hashes a source before any stage runs: it waits on a named pipe for ever and fails on the other kinds.

    Raises: ConfigError naming the first entry of the folder that DVC cannot hash.
    """
    pending = [str(root)] if root.is_dir() else []
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.path)
        except OSError as error:
            raise ConfigError(
                f"{where}.path: found {folder}, which cannot be read ({error.strerror}); expected a readable folder; "
                "change its permissions"
            ) from None
        for entry in entries:
            if fault := _fault(entry):
                shown = os.fsencode(entry.path).decode("utf-8", "backslashreplace")
                raise ConfigError(
                    f"{where}.path: found {shown}, {fault}, which DVC cannot hash; expected regular files in "
                    "folders; move it out of the source, or rename it"
                )
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def _fault(entry: "os.DirEntry[str]") -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "a name that is not UTF-8"
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "a link that leads nowhere"
    return "" if entry.is_file() or entry.is_dir() else "a named pipe, socket or device"
