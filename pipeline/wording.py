"""What the errors of config.py say: the value that was found, what a field takes, and the key that was meant."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

RENAMED = {"size": ("side", "pieces")}  # what an older params.yaml says, and its names now
WORDS = ("true", "false", "null", "yes", "no", "on", "off")  # that YAML may take for something else than a text


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word is near; capitals and small letters are alike."""
    words = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), list(words), n=1)
    return f" (did you mean {words[found[0]]!r}?)" if found else ""


def meant(key: str, fields: Mapping[str, Any]) -> str:
    """` (did you mean …?)`, also of a key that stands in a section of this one."""
    if now := [name for name in RENAMED.get(key, ()) if name in fields]:
        return f" (did you mean {now[0]!r}?)"
    inner = {
        found.name: f"{name}.{found.name}"
        for name, field in fields.items()
        if dataclasses.is_dataclass(field.default)
        for found in dataclasses.fields(field.default)
        if found.name != "name"
    }
    if key not in inner and (near := nearest(key, fields)):
        return near
    close = difflib.get_close_matches(key, list(inner), n=1)
    return f" (did you mean {inner[close[0]]!r}?)" if close else ""


def shown(value: object) -> str:
    text = repr(dict(value) if isinstance(value, Mapping) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def in_yaml(value: object) -> str:
    """A value as a line of params.yaml has it."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w.-]*", value) and value.lower() not in WORDS
        return value if plain else "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def expected(hint: Any, bounds: Mapping[str, Any]) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else expected(a, bounds) for a in arguments)
    if origin is tuple:
        return f"a list, each item {expected(arguments[0], bounds)}"
    if origin is dict:
        return f"a mapping of names, each value {expected(arguments[1], bounds)}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    text = words.get(hint, "a mapping")
    signs = {"low": "≥", "high": "≤", "above": ">", "below": "<"}
    limits = [f"{sign} {_number(bounds[key])}" for key, sign in signs.items() if bounds.get(key) is not None]
    unit = f" ({bounds['unit']})" if bounds.get("unit") else ""
    return " ".join([text, " and ".join(limits)]).strip() + unit


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
