"""What a source's settings say that its examples are asked for."""

from dataclasses import dataclass
from typing import Any

from pipeline.targets import Kind


@dataclass(frozen=True)
class Asked:
    kind: Kind = "classes"
    separator: str | None = None
    labels: tuple[str, ...] = ()  # that there are by the settings, with or without an example

    @property
    def noted(self) -> dict[str, Any]:
        """What source.json has of it; nothing for classes."""
        labels = {"labels": sorted(self.labels)} if self.labels else {}
        return {} if self.kind == "classes" else {"target": self.kind, **labels}


def of(config: Any) -> Asked:
    """Of a source that gives one class each and says nothing, classes."""
    said = getattr(config, "said", config)  # a delivery's stand in its layout
    separator, labels = getattr(said, "separator", None), getattr(said, "label_columns", ())
    return Asked(getattr(said, "target", "classes"), separator, tuple(labels))
