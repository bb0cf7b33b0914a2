"""How the files inside a delivery lie: as for one of the sources that read a folder or a file, by the same block."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.config import parse
from pipeline.errors import ConfigError, DataError
from pipeline.sources import _tree, image_folder, image_table, text_files, text_table
from pipeline.wording import nearest

LAYOUTS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module for module in (image_folder, image_table, text_files, text_table)
}
STATED = ("licence", "origin")


def module(layout: Mapping[str, Any]) -> ModuleType:
    return LAYOUTS[layout["name"]]


def check(layout: Mapping[str, Any]) -> None:
    """Raises: ValueError naming the setting."""
    name, inside = layout.get("name"), str(layout.get("path", "."))
    if name not in LAYOUTS:
        raise ValueError(
            f"layout.name: found {name!r}; expected one of {', '.join(LAYOUTS)}{nearest(str(name), LAYOUTS)}"
        )
    if inside.startswith("/") or ".." in inside.split("/"):
        raise ValueError(f"layout.path: found {inside!r}; expected a path inside the delivery")
    for key in STATED:
        if key in layout:
            raise ValueError(f"layout.{key}: unknown key; it stands in source itself")
    try:
        _parsed(layout, "delivery")
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _parsed(layout: Mapping[str, Any], path: str) -> Any:
    settings = {key: value for key, value in layout.items() if key not in ("name", "path")}
    return parse(module(layout).Config, {"path": path, **settings}, "layout")


def settings(layout: Mapping[str, Any]) -> Any:
    """Those of the layout's module, wherever a delivery lies."""
    return _parsed(layout, "delivery")


def place(layout: Mapping[str, Any], root: Path) -> Path:
    """The folder or file inside a delivery at `root`. Raises: DataError when it is not there."""
    inside = Path(str(layout.get("path", ".")))
    found = root / inside
    if not found.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{found}: found a link out of the delivery; expected its own data; deliver these")
    if not found.exists():
        there = [_tree.printable(entry.name) for entry in _tree.listed(root)][:5]
        raise DataError(f"{root}: found no {inside}; set layout.path; there is {', '.join(there) or 'nothing'}")
    return found


def config(layout: Mapping[str, Any], root: Path) -> Any:
    """The settings with which the layout's module reads the delivery at `root`."""
    return _parsed(layout, str(place(layout, root)))
