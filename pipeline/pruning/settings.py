"""The part `prune` of the section `compress`. Nothing here imports torch, so that a check stays quick."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import setting

RATIOS = (0.25, 0.5, 0.75)
"""Shares of each group that are cut alone to measure how sensitive the network is to it."""


@dataclass(frozen=True)
class Prune:
    levels: tuple[float, ...] = setting(
        (0.3, 0.45, 0.6, 0.75, 0.85),
        above=0,
        below=1,
        unit="shares of the time, of a text's also of the bytes, saved; [] is off",
    )
    epochs: int | None = setting(None, low=1, high=10_000, unit="of fine-tuning; null: a third of train.epochs")
    rate: float = setting(0.5, above=0, high=10, unit="times train's learning rate, the highest of fine-tuning")
    distil: Literal["auto", "on", "off"] = "auto"  # from the trained network; auto: where validation says so
    share: float = setting(0.5, above=0, high=1, unit="of the loss that the teacher has in distillation")
    temperature: float = setting(2.0, low=1, high=100, unit="by which logits are divided in distillation")

    sparse: float | None = setting(
        None,
        above=0,
        below=1,
        unit="share of the weights at zero in one network more, which gets no smaller or faster by it; null: none",
    )

    @property
    def on(self) -> bool:
        return bool(self.levels) or self.sparse is not None

    def __post_init__(self) -> None:
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels: found {list(self.levels)}; expected rising shares, such as [0.35, 0.55]")

    def epochs_after(self, epochs: int) -> int:
        """Epochs of fine-tuning after a training of so many."""
        return self.epochs if self.epochs is not None else max(2, round(epochs / 3))
