"""Tells numbers that are not finite: on a CPU at once, on a GPU one step late, so that it never waits for the CPU."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.errors import TrainingError

Blame = Callable[[Sequence[float]], TrainingError]


class Watch:
    """`add` raises what the blame of the numbers says, those of this step or of the one before."""

    def __init__(self, device: torch.device):
        self._late = device.type == "cuda"
        self._waiting: tuple[Tensor, torch.cuda.Event, Blame] | None = None

    def add(self, values: Sequence[Tensor], blame: Blame) -> None:
        held = torch.stack([value.detach().float() for value in values])
        if not self._late:
            _require(held, blame)
            return
        copy = torch.empty(held.shape, pin_memory=True).copy_(held, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.settle()
        self._waiting = copy, event, blame

    def settle(self) -> None:
        """Looks at what is still to be looked at."""
        if self._waiting is not None:
            copy, event, blame = self._waiting
            self._waiting = None
            event.synchronize()
            _require(copy, blame)


def _require(values: Tensor, blame: Blame) -> None:
    if not values.isfinite().all():
        raise blame(values.tolist())
