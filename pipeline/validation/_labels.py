"""Labels made into others before anything is judged: ids get names, several become one, some are dropped."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import parse
from pipeline.errors import ConfigError
from pipeline.targets import Kind, joined, parted
from pipeline.validation import _files

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labels:
    """names: by the label that the source gives; merge: the labels that a new one stands for; drop: whose rows go, of
    several labels the label alone.

    Names come first: merge and drop name labels as they are then.
    """

    names: dict[str, str] = field(default_factory=dict)
    merge: dict[str, tuple[str, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        merged = [label for labels in self.merge.values() for label in labels]
        twice = sorted({label for label in merged if merged.count(label) > 1})
        if twice:
            raise ValueError(f"merge: found {', '.join(twice)} twice; expected each label in one place")
        lost = sorted(set(self.drop) & (set(merged) | set(self.merge)))
        if lost:
            raise ValueError(f"drop: found {', '.join(lost)}, which merge names too; expected one of the two")

    def __bool__(self) -> bool:
        return bool(self.names or self.merge or self.drop)

    @property
    def merged(self) -> dict[str, str]:
        return {label: new for new, labels in self.merge.items() for label in labels}

    def of_several(self, text: str) -> str:
        new = [self.of(label) for label in parted(text)]
        return joined(label for label in new if label not in self.drop)

    def of(self, label: str) -> str:
        named = self.names.get(label, label)
        return self.merged.get(named, named)


def mark(labels: Labels) -> str:
    """Equal for settings that make the same labels of the same ones; empty for none."""
    if not labels:
        return ""
    made = [labels.names, labels.merged, sorted(labels.drop)]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]


def path(task: str) -> Path:
    return _files.FOLDER / f"{task}.labels.yaml"


def read(task: str, settings: Labels) -> Labels:
    """The settings, or what the task's file holds; there `names` may be a list, whose places are the ids.

    Raises: ConfigError.
    """
    file = path(task)
    if not file.is_file():
        return settings
    if settings:
        raise ConfigError(f"{file}: params.yaml has validate.labels too; expected one of the two")
    loaded = _files.read(file)
    if isinstance(loaded, Mapping) and isinstance(loaded.get("names"), list):
        loaded = {**loaded, "names": {str(number): name for number, name in enumerate(loaded["names"])}}
    return parse(Labels, loaded, str(file))


def apply(manifest: "pd.DataFrame", labels: Labels, kind: Kind = "classes") -> "pd.DataFrame":
    """The manifest with new labels and probabilities, and a column `dropped`: whether the row's label goes.

    A label follows by its name alone, because it may be the user's own: a merged class may become likelier than it.
    """
    given = manifest["label"]
    of = labels.of_several if kind == "labels" else labels.of
    table = manifest.assign(label=given.map(of, na_action="ignore") if labels else given, dropped=False)
    if not labels or kind == "labels":
        return table
    table["dropped"] = table["label"].isin(labels.drop)
    soft = table["probabilities"].map(lambda text: _probabilities(text, labels), na_action="ignore")
    return table.assign(probabilities=soft.astype(manifest["probabilities"].dtype))


def _probabilities(text: str, labels: Labels) -> str | None:
    """Those of merged labels added up, those of dropped ones shared out among the others."""
    found: dict[str, float] = {}
    for label, share in json.loads(text).items():
        new = labels.of(label)
        if new not in labels.drop:
            found[new] = found.get(new, 0.0) + share
    total = sum(found.values())
    return json.dumps({label: share / total for label, share in found.items()}, sort_keys=True) if total else None


def changes(given: "pd.Series[str]", labels: Labels, kind: Kind = "classes") -> dict[str, Any]:
    """How many rows had their label changed or dropped, by the label that the source gave, and what names no label."""
    if not labels:
        return {"changed": {}, "dropped": {}, "unused": []}
    counts = (given.dropna().map(parted).explode() if kind == "labels" else given).value_counts()
    new = {label: labels.of(label) for label in counts.index}
    return {
        "changed": {
            label: {"to": new[label], "rows": int(counts[label])} for label in counts.index if new[label] != label
        },
        "dropped": {label: int(counts[label]) for label in counts.index if new[label] in labels.drop},
        "unused": _unused(labels, list(counts.index)),
    }


def _unused(labels: Labels, given: list[str]) -> list[str]:
    """Each label of merge and drop that no row has, with the nearest that one has."""
    named = sorted({labels.names.get(label, label) for label in given})
    known = {*named, *(labels.of(label) for label in given)}
    words = []
    for label in (*labels.merged, *labels.drop):
        if label not in known:
            close = difflib.get_close_matches(label, named, n=1)
            words.append(f"{label} (did you mean {close[0]!r}?)" if close else label)
    return words
