"""Counts what a source gave, for the one line that a user reads about it."""

from collections import Counter
from dataclasses import dataclass, field


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
        labels = ", ".join(f"{label} {count:,}" for label, count in sorted(self.labels.items()))
        labels = labels if len(labels) <= 500 else labels[:497] + "..."
        refused = f"; {self.refused:,} refused (first: {self.first_refused})" if self.refused else ""
        return f"{self.labels.total():,} examples in {len(self.labels)} classes ({labels or 'none'}){refused}"
