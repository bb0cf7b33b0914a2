"""What is remembered of a file, and what is looked at again."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.validation import _measured


def looked_at(found: dict[str, Any]) -> bool:
    """Whether the file was looked at; the others of its run are known."""
    asked: list[str] = []

    def look(path: str) -> dict[str, Any]:
        asked.append(path)
        return found

    ((number, _),) = _measured.through_cache(look, ["a.png"], ["ab" * 32], "key", 0, 5.0)
    assert number == 0
    return bool(asked)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("unreadable", True),
        ("out of memory", True),
        ("changed while it was read", True),
        ("not a regular file", True),
        ("truncated", False),
    ],
)
def test_what_may_be_the_machine_s_fault_is_looked_at_again(
    reason: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = {"undecodable": reason, "detail": reason}
    assert looked_at(bad)
    assert looked_at(bad) is again
