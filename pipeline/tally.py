"""Counts what a source gave, for the one line that a user reads about it."""

from collections import Counter
from dataclasses import dataclass, field

MOST_NAMED = 20  # classes on the line
LONGEST_NAME = 30  # characters of one of them


@dataclass
class Tally:
    """How many examples there are of each label, and how many refused ones, with the first of these."""

    labels: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    first_refused: str = ""

    def add(self, example_id: str, label: str | None, refused: str | None) -> None:
        if not refused and label is not None:
            self.labels[label] += 1
            return
        self.refused += 1
        name = example_id if example_id.isprintable() else ascii(example_id)
        self.first_refused = self.first_refused or f"{name}: {refused}"

    @property
    def total(self) -> int:
        return self.labels.total() + self.refused

    def __str__(self) -> str:
        named = [f"{_short(label)} {count:,}" for label, count in sorted(self.labels.items())[:MOST_NAMED]]
        more = len(self.labels) - len(named)
        labels = ", ".join([*named, *([f"and {more:,} more"] if more else [])])
        of = ("example" if self.labels.total() == 1 else "examples", "class" if len(self.labels) == 1 else "classes")
        refused = f"; {self.refused:,} refused (first: {self.first_refused})" if self.refused else ""
        return f"{self.labels.total():,} {of[0]} in {len(self.labels)} {of[1]} ({labels or 'none'}){refused}"


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1] + "…"
