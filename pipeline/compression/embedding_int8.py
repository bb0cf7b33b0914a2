"""Embedding tables in int8 with a scale a row, arithmetic in fp32: a quarter of the bytes of what text models are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.compression import _tables
from pipeline.graphs import Feed

STORED = ("uint8",)


@dataclass(frozen=True)
class Config:
    pass


def compress(source: Path, target: Path, config: Config, calibration: Sequence[Feed]) -> None:
    """Writes the folded graph `source` with int8 tables; the calibration batches are not needed."""
    _tables.compress(source, target, 8, None)


def present(graph: Path) -> int:
    """How many look-ups read an int8 table."""
    return _tables.present(graph, 8)
