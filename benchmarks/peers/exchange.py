"""What benchmarks/compress_peers.py leaves in a folder for its peers, read with numpy alone, and how they answer.

train.npz and validation.npz: `examples`, uint8 images [N, H, W, C] or ids int64 [N, T] filled with 0, and `labels`
int64 [N]; fp32.onnx, which reads `images` or `ids`. N examples, K classes.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

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


def tell(runs: Mapping[str, Callable[[], None]]) -> None:
    """Runs each and prints as the last line, in JSON, for each the CPU seconds or why it failed."""
    told: dict[str, Any] = {}
    for name, run in runs.items():
        started = time.process_time()
        try:
            run()
            told[name] = {"seconds": time.process_time() - started}
        except Exception as error:  # noqa: BLE001 (what a peer cannot do is part of the answer)
            told[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    print(json.dumps(told))
