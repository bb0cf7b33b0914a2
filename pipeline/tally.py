"""Counts what a source gave, for the one line that a user reads about it."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.targets import Kind, number, parted

MOST_NAMED = 20  # classes on the line
LONGEST_NAME = 30  # characters of one of them
WORDS = {"classes": ("class", "classes"), "labels": ("label", "labels"), "value": ("value", "values")}


@dataclass
class Tally:
    """How many examples there are of each label, and how many refused ones, with the first of these."""

    kind: Kind = "classes"
    examples: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    several: int = 0  # examples with more than one label
    refused: int = 0
    first_refused: str = ""

    def add(self, example_id: str, label: str | None, refused: str | None) -> None:
        if not refused and label is not None:
            self.examples += 1
            names = parted(label) if self.kind == "labels" else [label]
            self.labels.update(names)
            self.several += len(names) > 1
            return
        self.refused += 1
        name = example_id if example_id.isprintable() else ascii(example_id)
        self.first_refused = self.first_refused or f"{name}: {refused}"

    @property
    def total(self) -> int:
        return self.examples + self.refused

    def __str__(self) -> str:
        of = ("example" if self.examples == 1 else "examples", WORDS[self.kind][len(self.labels) != 1])
        refused = f"; {self.refused:,} refused (first: {self.first_refused})" if self.refused else ""
        named = self._range() if self.kind == "value" else self._names()
        return f"{self.examples:,} {of[0]} in {len(self.labels)} {of[1]} ({named or 'none'}){refused}"

    def _names(self) -> str:
        named = [f"{_short(label)} {count:,}" for label, count in sorted(self.labels.items())[:MOST_NAMED]]
        more = len(self.labels) - len(named)
        return ", ".join([*named, *([f"and {more:,} more"] if more else [])])

    def _range(self) -> str:
        known = [value for text in self.labels if (value := number(text)) is not None]
        return f"{min(known):g} to {max(known):g}" if known else "no number among them"


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1] + "…"
