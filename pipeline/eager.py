"""Networks as PyTorch itself runs them: what speed-ups are measured against, and on a GPU compiled in 16 bits too.

None of these is served. Answers come back as arrays of the CPU, so a call ends when the device has finished.
B examples of a batch, T terms, V of a vocabulary, O outputs.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.errors import ConfigError
from pipeline.graphs import Feed

HALVES = {"torch_fp16": torch.float16, "torch_bf16": torch.bfloat16}
"""By the variant's name: what a compiled network computes in, where PyTorch's autocast takes that for safe."""
Answer = Callable[[Feed], np.ndarray]


class OfTerms(nn.Module):
    """A linear model over terms [B, T] and their weights [B, T]; the row after the last is 0."""

    rows: torch.Tensor  # float32 [V + 1, O]
    shift: torch.Tensor  # float32 [O]

    def __init__(self, coefficients: np.ndarray, intercept: np.ndarray):
        """coefficients: float32 [O, V]. intercept: float32 [O]."""
        super().__init__()
        padded = np.concatenate([coefficients.T, np.zeros((1, len(intercept)), np.float32)])
        self.register_buffer("rows", torch.from_numpy(padded))
        self.register_buffer("shift", torch.from_numpy(intercept))

    def forward(self, terms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return functional.embedding_bag(terms, self.rows, per_sample_weights=weights, mode="sum") + self.shift


def require(device: str, where: str) -> None:
    """Raises: ConfigError for cuda where PyTorch has none."""
    if device == "cuda" and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
        raise ConfigError(
            f"{where}: found cuda, where PyTorch {torch.__version__}, built for {built}, sees no CUDA device; expected "
            "one; run on a machine with a GPU and its driver, or set cpu"
        )


def answering(net: nn.Module, device: str) -> Answer:
    """A batch → outputs float32 [B, O], by the network as it is."""
    return _calls(_on(net, device), device)


def compiled(net: nn.Module, device: str, dtype: torch.dtype, backend: str = "inductor") -> Answer:
    """A batch → outputs float32 [B, O], by the network compiled for 16 bits.

    Raises: RuntimeError, at the first batch, for what the compiler cannot translate.
    """
    answer = _calls(torch.compile(_on(net, device), backend=backend), device)

    def run(feed: Feed) -> np.ndarray:
        with torch.autocast(device, dtype):
            return answer(feed)

    return run


def in_16_bits(net: nn.Module, device: str) -> dict[str, Answer]:
    """The variants of a GPU; none of a CPU, where int8 graphs are what is small and fast."""
    return {name: compiled(net, device, dtype) for name, dtype in HALVES.items()} if device == "cuda" else {}


def _on(net: nn.Module, device: str) -> nn.Module:
    """The network itself on the CPU, else a copy: pruning and export go on with the one that is here."""
    return net if device == "cpu" else copy.deepcopy(net).to(device)


def _calls(net: Callable[..., torch.Tensor], device: str) -> Answer:
    def run(feed: Feed) -> np.ndarray:
        with torch.inference_mode():
            found = net(*[torch.from_numpy(array).to(device) for array in feed.values()])
            logits: np.ndarray = found.float().cpu().numpy()
        return logits

    return run
