"""dvc.lock kept whole: DVC rewrites it in place, so that a kill can leave it empty or cut off."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.artifacts import STATE, whole

LOCK = Path("dvc.lock")
KEPT = STATE / "dvc.lock"  # as it last stood whole
CONFLICT = "<<<<<<< "  # git's mark: which side holds is for the user to say


def stages(text: str) -> dict[str, Any] | None:
    """The stages by name, or None where the text is not all that DVC wrote. Costs 0.1 s for 100 stages."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    if not text.endswith("\n"):
        return None
    try:
        found = COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))
    except (YAMLError, Invalid, ValueError):
        return None
    return dict(found.get("stages") or {})


def read(path: Path = LOCK) -> dict[str, Any]:
    """The stages that DVC has recorded; none where there are none, or where DVC is just writing them."""
    return stages(_text(path) or "") or {}


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _cut_off(text: str, kept: str | None) -> bool:
    """Whether it is not all that DVC wrote; where it ends between two records, by the copy that goes on from there."""
    if stages(text) is None:
        return True
    return kept is not None and text != kept and kept.startswith(text) and text != _committed()


def keep() -> None:
    """Copies dvc.lock where it is whole, to have it after a kill."""
    text, kept = _text(LOCK), _text(KEPT)
    if text and text != kept and not _cut_off(text, kept):
        with whole(KEPT) as building:
            building.write_text(text, "utf-8")


def heal() -> None:
    """Puts the last whole dvc.lock, or else the committed one, in the place of one that is cut off.

    What DVC recorded since is in its run cache, from which the stages come back without running.
    A conflict of git is left as it is, and DVC says so.
    """
    text, kept = _text(LOCK), _text(KEPT)
    if text is None or CONFLICT in text or not _cut_off(text, kept):
        return
    good = next((found for found in (kept, _committed()) if found and stages(found) is not None), None)
    if good is None:
        LOCK.unlink()
    else:
        with whole(LOCK) as building:
            building.write_text(good, "utf-8")
    done = "removed" if good is None else "put back as it last stood whole"
    print(f"{LOCK}: a killed run left it cut off after {len(text)} characters; {done}", file=sys.stderr)


def _committed() -> str | None:
    asked = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True)
    return asked.stdout.decode("utf-8", "replace") if asked.returncode == 0 else None
