"""One step of the optimiser: the gradients of a batch, over all ranks and in as many parts as fit, and what they do.

B examples of this rank's part of a batch, O outputs.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline import config as settings
from pipeline import distributed, pulse
from pipeline.augmentation.batches import Augmentation
from pipeline.fit import groups, recomputing
from pipeline.fit.feed import Batch
from pipeline.fit.hardware import Choices
from pipeline.fit.objective import Objective
from pipeline.fit.settings import Config
from pipeline.fit.watch import Blame, Watch

if TYPE_CHECKING:
    from pipeline.fit.finding import Found

LARGE = 1 << 62
LEAST_SCALE = 1e-4  # of fp16: gradients that are not finite at less never become so


class Stepper:
    """Trains `net` in place, a batch at a time; `targets` float32 [N, O] are those of the whole train split."""

    def __init__(
        self,
        net: nn.Module,
        stages: Sequence[nn.Module],
        objective: Objective,
        targets: Tensor,
        config: Config,
        choices: Choices,
        found: "Found",
        augmentation: Augmentation,
    ):
        self.net, self.stages, self.config, self.choices = net, stages, config, choices
        self.parts = found.parts
        self._frozen = -1
        self._recomputing = False
        if found.recompute:
            self.recompute()
        module = settings.plugin("optimizers", config.optimizer.name, "train.optimizer.name")
        trained = groups.groups(net, stages, config, found.rate)
        self.optimizer = module.build(config.optimizer, trained, fused=choices.fused)
        self._objective, self._targets, self._augmentation = objective, targets, augmentation
        self.renew()
        self._wrapped = net
        self._forward: Callable[[Tensor], Tensor] = net

    def renew(self) -> None:
        """Leaves nothing of a step that failed on the way."""
        device = self.choices.device
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.choices.precision is torch.float16)
        self._watch = Watch(device)

    def recompute(self) -> None:
        """From the next epoch's beginning on the stages but the head keep no inner values, and nothing is compiled.

        Dynamo cannot trace what keeps a norm from counting twice.
        """
        recomputing.recompute(self.stages[:-1])
        self._recomputing, self._frozen = True, -1

    def begin(self, frozen: int) -> None:
        """Before an epoch: the network trains, but for its first `frozen` stages."""
        self.net.train()
        groups.freeze(self.stages, frozen)
        if frozen != self._frozen:  # ranks are told once which gradients there will be
            self._frozen = frozen
            self._wrapped = distributed.wrapped(self.net, self.choices.device)
            self._forward = self._wrapped
            if self.choices.compile != "off" and not self._recomputing:
                self._forward = torch.compile(self._wrapped, mode=self.choices.compile)

    def step(self, batch: Batch, factor: float, blame: Blame) -> Tensor:
        """The sum of the batch's losses [] of this rank, on the device; `factor` multiplies every group's rate.

        Raises: what `blame` makes of losses or a norm of the gradients that are not finite, before the weights change
        (on a GPU one step later). Of fp16 a norm counts from the least scale on.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        torch.manual_seed(int(batch.random.integers(LARGE)) + distributed.rank())
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch)
        self.scaler.unscale_(self.optimizer)
        if self.config.l1:
            self._shrink()
        limit = self.config.gradient_norm
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), limit if limit is not None else float("inf"))
        self._watch.add([loss, self._told(norm)], blame)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        distributed.even_norms(self.net)
        pulse.beat()
        return loss

    def _told(self, norm: Tensor) -> Tensor:
        """The norm where it is to be finite: a scaler skips steps at first, until its scale is low enough."""
        if not self.scaler.is_enabled():
            return norm
        scale = self.scaler.scale(torch.ones_like(norm))
        return torch.where(scale < LEAST_SCALE, norm, torch.zeros_like(norm))

    def settle(self) -> None:
        """Raises what is still to be blamed."""
        self._watch.settle()

    def _gradients(self, batch: Batch) -> Tensor:
        count = len(batch.rows)
        arrays, targets, copied = self._on_device(batch)
        if not count:
            return self._nothing(arrays)
        parts = max(1, min(self.parts, batch.count // distributed.world()))  # as many on every rank
        cuts = [count * k // parts for k in range(parts + 1)]
        total = torch.zeros((), device=self.choices.device)
        for k, (first, last) in enumerate(itertools.pairwise(cuts)):
            whole = k == parts - 1
            with contextlib.nullcontext() if whole else distributed.unsynced(self._wrapped):
                loss = self._losses(arrays[first:last], targets[first:last]).sum()
                pulse.beat(waits=whole)
                self.scaler.scale(loss * (distributed.world() / batch.count)).backward()
            total += loss.detach()
        if copied is not None:  # the batch's memory is filled anew as soon as the next one is asked for
            copied.synchronize()
        return total

    def _on_device(self, batch: Batch) -> tuple[Tensor, Tensor, torch.cuda.Event | None]:
        """This rank's part as the network is to see it, its targets, and what tells that a GPU has copied them."""
        device = self.choices.device
        arrays = torch.from_numpy(batch.arrays).to(device, non_blocking=True)
        targets = self._targets[torch.from_numpy(batch.rows)].to(device, non_blocking=True)
        copied = torch.cuda.Event() if device.type == "cuda" else None
        if copied is not None:
            copied.record()
        return *self._augmentation(arrays, targets, batch.random, batch.count), copied

    def _nothing(self, arrays: Tensor) -> Tensor:
        """Takes part in a step without an example of its own: one that is made up counts for nothing."""
        device, precision = self.choices.device, self.choices.precision
        made = arrays.new_ones((1, *arrays.shape[1:]))
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            loss = self._forward(made).float().sum() * 0
        pulse.beat(waits=True)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _losses(self, arrays: Tensor, targets: Tensor) -> Tensor:
        """Of some of the batch's examples, [B]."""
        device, precision = self.choices.device, self.choices.precision
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            outputs = self._forward(arrays)
        return self._objective(outputs.float(), targets)

    def _shrink(self) -> None:
        """L1: the sign of each weight that decays, added to its gradient."""
        for group in self.optimizer.param_groups:
            trained = [p for p in group["params"] if group["decayed"] and p.grad is not None]
            if trained:
                signs = torch._foreach_sign(trained)
                torch._foreach_add_([p.grad for p in trained], signs, alpha=self.config.l1)
