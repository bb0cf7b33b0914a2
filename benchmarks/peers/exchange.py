"""What benchmarks/compress_peers.py leaves in a folder for its peers, read with numpy alone.

train.npz and validation.npz: `examples`, uint8 images [N, H, W, C] or ids int64 [N, T] filled with 0, and `labels`
int64 [N]; fp32.onnx, which reads `images` or `ids`. N examples, K classes.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

Feed = dict[str, np.ndarray]


def read(folder: Path, split: str) -> tuple[list[Feed], np.ndarray]:
    """Batches of one, texts without padding, and their labels."""
    with np.load(folder / f"{split}.npz") as arrays:
        examples, labels = arrays["examples"], arrays["labels"]
    if examples.dtype == np.uint8:
        return [{"images": image[None]} for image in examples], labels
    return [{"ids": ids[None, : max(1, np.count_nonzero(ids))]} for ids in examples], labels


def macro_f1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Of classes [N] that are so and are answered; the mean over the classes that are either."""
    found = []
    for label in np.union1d(labels, answers):
        hit = np.sum((labels == label) & (answers == label))
        found.append(2 * hit / (np.sum(labels == label) + np.sum(answers == label)))
    return float(np.mean(found))


def outputs(run: Callable[[Feed], np.ndarray], feeds: Iterable[Feed]) -> np.ndarray:
    """Logits [N, K]."""
    return np.concatenate([run(feed) for feed in feeds])
