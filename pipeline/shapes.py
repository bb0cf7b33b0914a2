"""Networks from which parts were removed: what of their modules differs from a freshly built one, and its return.

Whatever removed them, the widths that modules name and the shapes of the weights tell it all.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import DataError

Cut = Mapping[str, Mapping[str, Any]]
"""By a module's name: the numbers, and tuples of whole numbers, of its attributes that are not those of a fresh one."""


def differences(fresh: nn.Module, cut: nn.Module) -> dict[str, dict[str, Any]]:
    """What tells, beside the weights, how a network was cut, so that `restore` can cut a fresh one alike."""
    found = {}
    parts = dict(fresh.named_modules())
    for name, part in cut.named_modules():
        old = _numbers(parts[name]) if name in parts else {}
        own = {key: value for key, value in _numbers(part).items() if key in old and value != old[key]}
        if own:
            found[name] = own
    return found


def _numbers(part: nn.Module) -> dict[str, Any]:
    """Attributes of a module that are numbers or tuples of whole numbers."""
    found: dict[str, Any] = {}
    for name, value in vars(part).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
        elif isinstance(value, tuple) and value and all(type(one) is int for one in value):
            found[name] = list(value)
    return found


def restore(net: nn.Module, cut: Cut, state: Mapping[str, Tensor], where: str) -> None:
    """Cuts a freshly built network like the one whose weights `state` has, and loads them.

    Raises: DataError, which names the file `where`, for what is no attribute or weight of this network.
    """
    _drop(net, state)
    parts = dict(net.named_modules())
    for name, attributes in cut.items():
        known = _numbers(parts[name]) if name in parts else {}
        for attribute, value in attributes.items():
            if attribute not in known or type(value) is not type(known[attribute]):
                raise _other(where, f"{name}.{attribute} = {value!r}, which its network does not have")
            setattr(parts[name], attribute, tuple(value) if isinstance(value, list) else value)
    for name, part in parts.items():
        _resize(part, f"{name}." if name else "", state)
    try:
        fill(net, state)
    except RuntimeError as error:
        raise _other(where, " ".join(str(error).split())) from None


def fill(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads the weights of a file, which lacks the versions of modules that some ask for: they are this network's."""
    own = net.state_dict()
    own.clear()
    own.update(state)
    net.load_state_dict(own)


def _other(where: str, found: str) -> DataError:
    return DataError(f"{where}: found {found}; expected those of the network that it describes; write both files again")


def _drop(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Takes out the last items of containers whose weights the state lacks: layers that were removed."""
    own = set(net.state_dict())
    for name, part in list(net.named_modules()):
        if isinstance(part, nn.ModuleList | nn.Sequential):
            start = f"{name}." if name else ""
            while _under(last := f"{start}{len(part) - 1}.", own) and not _under(last, state):
                del part[-1]


def _under(start: str, names: Iterable[str]) -> bool:
    return any(name.startswith(start) for name in names)


def _resize(part: nn.Module, start: str, state: Mapping[str, Tensor]) -> None:
    """Empty tensors of the state's shapes in the place of the module's own where these are others."""
    for name, old in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        new = state.get(start + name, old)
        if new.shape != old.shape:
            empty = torch.empty(new.shape, dtype=old.dtype, device=old.device)
            trained = isinstance(old, nn.Parameter)
            setattr(part, name, nn.Parameter(empty, requires_grad=old.requires_grad) if trained else empty)
