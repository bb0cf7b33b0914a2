"""Checkpoints that a kill cannot tear: written whole, with their own digest, and the one before kept."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from pipeline import artifacts

LAST, PREVIOUS = "last.pt", "previous.pt"
DIGEST = hashlib.sha256().digest_size


def save(folder: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, texts, lists and dicts of them) as the last checkpoint of `folder`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    with artifacts.whole(folder / LAST) as building:
        building.write_bytes(hashlib.sha256(payload).digest() + payload)
        if (folder / LAST).exists():
            os.replace(folder / LAST, folder / PREVIOUS)


def load(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None; what is torn or altered is passed over."""
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        payload = content[DIGEST:]
        if hashlib.sha256(payload).digest() == content[:DIGEST]:
            return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    return None
