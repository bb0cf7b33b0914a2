"""Embedding tables in 4 bits with a scale for 32 values, arithmetic in fp32: a sixth of a table's bytes.

dynamic_int8 and static_int8 leave such a table as it is: of what this wrote they make int8 of the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.compression import _tables
from pipeline.graphs import Feed

STORED = ("uint8",)  # two codes a byte
BLOCK = 32
"""Values that share a scale: of 16 the scales would be a third of the table, of 64 the error a tenth larger."""


@dataclass(frozen=True)
class Config:
    pass


def compress(source: Path, target: Path, config: Config, calibration: Sequence[Feed]) -> None:
    """Writes the folded graph `source` with tables of 4 bits; the calibration batches are not needed."""
    _tables.compress(source, target, 4, BLOCK)


def present(graph: Path) -> int:
    """How many look-ups read a table of 4 bits."""
    return _tables.present(graph, 4)
