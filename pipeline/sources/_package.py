"""Sample data that come inside an installed package, of exactly the version that a lock file names.

The package is found, never imported: its code does not run.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

from pipeline.errors import DataError

WAY_OUT = "run `make setup`"


def pinned(lock: Path) -> tuple[str, str]:
    """The distribution's name and version in a lock file of one line, `name==version`."""
    lines = [line.strip() for line in lock.read_text("utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    name, equals, version = lines[0].partition("==") if len(lines) == 1 else ("", "", "")
    if not (name and equals and version):
        raise DataError(f"{lock}: found {len(lines)} lines; expected one `name==version`; restore it from git")
    return name, version


def folder(lock: Path, module: str) -> Path:
    """The folder of the installed package that a lock file pins.

    Raises: DataError when it is missing or of another version.
    """
    name, version = pinned(lock)
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"{lock}: {name} is not installed; expected version {version}; {WAY_OUT}") from None
    if found != version:
        raise DataError(f"{lock}: found {name} {found}; expected version {version}; {WAY_OUT}")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{lock}: {name} {version} is installed without its files; expected a folder {module}; {WAY_OUT}"
        )
    return Path(next(iter(spec.submodule_search_locations)))
