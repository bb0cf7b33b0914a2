"""What of a trained network can be made smaller, and the smaller network, before it is tuned again.

Image networks lose channels; text networks units, heads and layers where their model's file tells of them, and the
rows and the values of their embedding, which are most of their bytes. V tokens of the vocabulary.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline import network
from pipeline.examples import ImageInputs
from pipeline.models import _units
from pipeline.models._units import Units
from pipeline.network import Inputs, Network
from pipeline.pruning import channels
from pipeline.pruning.channels import UncutError
from pipeline.targets import Target

VOCABULARY, DIMENSIONS = "vocabulary", "embedding"
"""The names of what is cut from an embedding: its rows, the rarest first, and the values of each."""
SAVES_BYTES = (VOCABULARY, DIMENSIONS)
"""What saves bytes rather than time."""
ROWS = 256
"""Rows of a vocabulary are kept in multiples of it."""


ATTENTION = ("maxvit", "swin", "vit")
"""Architectures of torchvision that are left: of a Swin, torch-pruning's graph takes all memory."""


@dataclass(frozen=True)
class Part:
    """Something that a network has `count` of, in multiples of `multiple`, and could have fewer of."""

    name: str
    kind: str
    count: int
    multiple: int

    def kept(self, ratio: float) -> int | None:
        """How many are left of them when this share goes, a multiple; None where that is all of them."""
        left = max(1, round(self.count * (1 - ratio) / self.multiple)) * self.multiple
        return left if left < self.count else None


@dataclass(frozen=True)
class Subject:
    """A trained network and what is known about it."""

    module: ModuleType  # the model's file
    settings: Any
    inputs: Inputs
    target: Target
    trained: Network
    counts: np.ndarray | None = None  # texts: how often each token stands in the train split, [V]


def parts(subject: Subject) -> tuple[list[Part], dict[str, str]]:
    """All that can be cut, as far as is known before it is tried, and by name what is left alone, with the reason."""
    found: list[Units] = []
    left: dict[str, str] = {}
    if reason := _uncut(subject):
        left[""] = f"not cut: {reason}"
    else:
        try:
            found = _units_of(subject, subject.trained)
        except UncutError as error:
            left[""] = f"not cut: {error}"
    listed = [Part(one.name, one.kind, one.count, one.multiple) for one in found]
    if subject.counts is not None and hasattr(subject.module, "embedding"):
        table = subject.module.embedding(subject.trained.body)
        if _name(subject.module) != "hugging_face":
            listed.append(Part(VOCABULARY, "rows", len(subject.counts), ROWS))
        if hasattr(subject.module, "narrow"):
            listed.append(Part(DIMENSIONS, "dimensions", table.weight.shape[1], 16))
    for one in listed:
        if one.kept(0.75) is None:
            left[one.name] = f"not cut: it has {one.count} {one.kind}, and {one.multiple} are the fewest that are fast"
    return [one for one in listed if one.name not in left], left


def cut(subject: Subject, kept: Mapping[str, int]) -> Network:
    """The trained network with so many left of each part that is named; the trained one itself is not touched.

    Raises: UncutError where torch-pruning cannot cut a part.
    """
    made = _with_rows(subject, kept[VOCABULARY]) if VOCABULARY in kept else _copied(subject)
    if DIMENSIONS in kept:
        table = subject.module.embedding(made.body).weight
        assert subject.counts is not None
        basis = _units.basis(table, subject.counts[: len(table)], kept[DIMENSIONS])
        subject.module.narrow(made.body, basis)
    for name in sorted(set(kept) - set(SAVES_BYTES), key=lambda name: (name == "blocks", name)):  # layers last
        found = {one.name: one for one in _units_of(subject, made)}
        best = found[name].scores().argsort(descending=True, stable=True)[: kept[name]]
        found[name].cut(best.sort().values)
    return made


def _uncut(subject: Subject) -> str:
    """Why a network has no units to remove, or nothing."""
    if not isinstance(subject.inputs, ImageInputs):
        file = f"pipeline/models/{_name(subject.module)}.py"
        return "" if hasattr(subject.module, "units") else f"{file} tells of no units"
    if str(getattr(subject.settings, "architecture", "")).startswith(ATTENTION):
        return "torch-pruning does not know how attention deals its values out to heads"
    return ""


def _units_of(subject: Subject, made: Network) -> list[Units]:
    if isinstance(subject.inputs, ImageInputs):
        inputs = subject.inputs
        images = torch.zeros(2, inputs.channels, inputs.height, inputs.width)
        return channels.units(made.body.eval(), images, made.stages[-1])
    found: list[Units] = subject.module.units(made.body)
    return found


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _copied(subject: Subject) -> Network:
    net, stages, body = copy.deepcopy((subject.trained.net, subject.trained.stages, subject.trained.body))
    return Network(net, stages, body)


def _with_rows(subject: Subject, rows: int) -> Network:
    fresh = network.network(subject.module, subject.settings, subject.inputs, subject.target, rows)
    fresh.net.load_state_dict(network.fewer_words(subject.trained.net.state_dict(), fresh.net))
    fresh.net.eval()
    return fresh


def numbers(net: nn.Module) -> int:
    """All numbers that a graph of it has: weights, and buffers such as a norm's statistics."""
    return sum(held.numel() for held in (*net.parameters(), *net.buffers()) if held.is_floating_point())
