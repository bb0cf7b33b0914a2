"""Where a source may lie: inside the project by a relative path, or anywhere by an absolute one."""

import os
from pathlib import Path

from pipeline.errors import ConfigError


def check_inside(path: str) -> None:
    """Raises: ValueError for a relative path that leaves the project or that dvc.yaml cannot name."""
    if not path.isprintable() or "${" in path:  # DVC reads ${…} as a variable
        raise ValueError(f"path: found {path!r}; expected a path without control characters and without ${{")
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
