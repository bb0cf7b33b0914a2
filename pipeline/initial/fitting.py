"""Puts a source's tensors into a network: all of them, but for a head of other outputs, which stays as it was drawn.

Names are compared without what they all start with, such as the `body.` of a network that normalises its pixels.
C channels, V entries of a vocabulary, E values of an embedding.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError, DataError
from pipeline.initial import published
from pipeline.initial.sources import Source
from pipeline.network import Network, Normalised, Valued

log = logging.getLogger(__name__)
NAMED = 3  # tensors that an error names
COUNTED = "num_batches_tracked"  # of a norm; weights of long ago lack it, and nothing is computed from it


@dataclass
class Fitted:
    """What became of each tensor, by its name without the common start."""

    count: int  # of the network's tensors
    kept: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # of the head, in words
    remarks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def fit(network: Network, source: Source, words: Sequence[str] | None = None) -> dict[str, Any]:
    """Fills the network, and returns what model.json says about it; `words` are those of its own embedding's rows.

    Raises: ConfigError that names each tensor, not of the head, that is missing, left over or of another shape.
    """
    filling = _Filling(network, source, words)
    found = filling.found
    with torch.no_grad():
        filling.fill()
        if found.wrong:
            raise ConfigError(_refusal(found, source))
        _normalise(network.net, source, found)
    record = {"from": source.pin.place, "sha256": source.pin.sha256, "kept": len(found.kept), "of": found.count}
    log.info("train.init: %s: %s", source.pin.place, _told(found))
    return record | {"new": found.new, "remarks": found.remarks}


class _Filling:
    """One network that one source fills; `found` says what became of each tensor."""

    def __init__(self, network: Network, source: Source, words: Sequence[str] | None):
        self.net, self.source, self.words = network.net, source, words
        self.own = _own(network.net)
        self.start, start = _starts(self.own, source.state)
        self.given = {k.removeprefix(start): value for k, value in source.state.items() if k.startswith(start)}
        last = network.stages[-1]
        held = {id(value) for values in (last.parameters(), last.buffers()) for value in values}
        self.head = {name.removeprefix(self.start) for name, value in self.own.items() if id(value) in held}
        self.first = next((layer for layer in self.net.modules() if isinstance(layer, nn.Conv2d)), None)
        self.found = Fitted(len(self.own))

    def fill(self) -> None:
        for full, value in self.own.items():
            name = full.removeprefix(self.start)
            if name in self.given:
                self._one(name, value, self.given.pop(name), self.net.get_submodule(full.rpartition(".")[0]))
            elif not name.endswith(COUNTED):
                self._misfit(name, value, "none")
        of_head = tuple({f"{name.rpartition('.')[0]}." for name in self.head})
        for name, value in sorted(self.given.items()):
            if not name.startswith(of_head) and name not in ("mean", "std"):
                self.found.wrong.append(f"{name} {_shape(value)} (left over)")

    def _one(self, name: str, value: Tensor, given: Tensor, layer: nn.Module) -> None:
        if not given.isfinite().all():
            raise DataError(
                f"{self.source.pin.place}: {name}: found a value that is not finite; expected numbers; train it anew"
            )
        if isinstance(layer, nn.Embedding) and self._by_word(name, value, given, layer):
            return
        if layer is self.first and given.ndim == 4 and (given.shape[1], value.shape[1]) == (3, 1):
            given = given.sum(dim=1, keepdim=True)
            self.found.remarks.append(f"{name}: summed over red, green and blue, since images are grey")
        if given.shape != value.shape:
            self._misfit(name, value, _shape(given))
            return
        value.copy_(given)
        self.found.kept.append(name)

    def _by_word(self, name: str, value: Tensor, given: Tensor, layer: nn.Module) -> bool:
        """Copies the rows [V, E] of the words that both sides have; False where rows are not known to be words'."""
        words, known = self.words, self.source.words
        signs = getattr(layer, "signs", 0)  # rows after those of the words, the same in every vocabulary
        if words is None or known is None or (len(value), len(given)) != (len(words) + signs, len(known) + signs):
            return False
        if value.shape[1] != given.shape[1]:
            return False
        row_of = {word: row for row, word in enumerate(known)}
        pairs = [(row, row_of[word]) for row, word in enumerate(words) if word in row_of]
        rows = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        value[rows[:, 0]] = given[rows[:, 1]].to(value.dtype)
        value[len(words) :] = given[len(known) :].to(value.dtype)
        self.found.kept.append(name)
        self.found.remarks.append(f"{name}: {len(pairs):,} of {len(words):,} words known")
        return True

    def _misfit(self, name: str, value: Tensor, instead: str) -> None:
        told = self.found.new if name in self.head else self.found.wrong
        told.append(f"{name} {_shape(value)} (found {instead})")


def _own(net: nn.Module) -> dict[str, Tensor]:
    """The network's tensors themselves, without the statistics of its inputs and of its values."""
    outside = [module for module in net.modules() if isinstance(module, Normalised | Valued)]
    statistics = {id(value) for module in outside for value in (module.mean, module.std)}
    return {name: value for name, value in net.state_dict(keep_vars=True).items() if id(value) not in statistics}


def _starts(own: Collection[str], given: Collection[str]) -> tuple[str, str]:
    """What names on both sides start with, chosen so that most are then the same."""

    def common(pair: tuple[str, str]) -> int:
        here, there = ({name.removeprefix(start) for name in names} for start, names in zip(pair, (own, given)))
        return len(here & there)

    return max(((a, b) for a in _shared(own) for b in _shared(given)), key=lambda pair: (common(pair), len(pair[0])))


def _shared(names: Collection[str]) -> list[str]:
    """Each start, up to a dot, that all names have but those of statistics beside them; the shortest is empty."""
    starts = [""]
    while True:
        rest = {name.removeprefix(starts[-1]) for name in names if name.startswith(starts[-1])} - {"mean", "std"}
        firsts = {name.partition(".")[0] for name in rest}
        if len(firsts) != 1 or not all("." in name for name in rest):
            return starts
        starts.append(f"{starts[-1]}{firsts.pop()}.")


def _normalise(net: nn.Module, source: Source, found: Fitted) -> None:
    """Gives the network's pixels the offset and scale that the weights were trained with, where they are known."""
    layer = next((module for module in net.modules() if isinstance(module, Normalised)), None)
    if layer is None:
        return
    given = _statistics(source)
    if given is None:
        return
    channels = layer.mean.shape[1]
    values = [torch.as_tensor(value, dtype=torch.float32).flatten() for value in given]
    if len(values[0]) == 3 and channels == 1:
        values = [value.mean(dim=0, keepdim=True) for value in values]
    if len(values[0]) != channels:
        return
    mean, std = (value.view(1, -1, 1, 1) for value in values)
    layer.mean.copy_(mean.round())
    layer.std.copy_(std)
    found.remarks.append("pixels are offset and scaled as these weights were trained")


def _statistics(source: Source) -> tuple[Any, Any] | None:
    """Mean and deviation of each channel [C], in 0..255."""
    if "://" in source.pin.place:
        mean, std = published.scaling(source.pin.place)
        return tuple(255 * value for value in mean), tuple(255 * value for value in std)
    for name, value in source.state.items():
        deviation = source.state.get(f"{name.removesuffix('mean')}std")
        if name.split(".")[-1] == "mean" and value.ndim == 4 and deviation is not None:
            return value, deviation
    return None


def _shape(value: Tensor) -> str:
    return f"[{', '.join(map(str, value.shape))}]"


def _refusal(found: Fitted, source: Source) -> str:
    many = len(found.wrong)
    whose = f"found the weights of model: {source.about}" if source.about else "found weights of other settings"
    way = f"model: {source.about}" if source.about else "the section model as they were trained with"
    more = f" and {many - NAMED:,} more" if many > NAMED else ""
    return (
        f"train.init: {source.pin.place}: {whose}, of which {many} tensor{'s' * (many != 1)} do{'es' * (many == 1)} "
        f"not fit: {'; '.join(found.wrong[:NAMED])}{more}; expected all but the head's to fit; set {way}, or "
        "train.init: random"
    )


def _told(found: Fitted) -> str:
    new = f"new: {', '.join(found.new)}" if found.new else "none is new"
    return "; ".join([f"kept {len(found.kept)} of {found.count} tensors", new, *found.remarks])
