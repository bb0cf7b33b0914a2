"""The files of a published encoder: where they lie, what they say of themselves, and one digest of them all."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DataError

FOLDER = "weights/"  # of the project, which DVC watches
WEIGHTS = ("model.safetensors", "model-*.safetensors")  # never pickle, which runs what it holds
FILES = ("config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
IDLE = ("_name_or_path", "architectures", "auto_map", "transformers_version")
"""Keys of a config.json that decide nothing here; `auto_map` names code, which is never run."""


@dataclass(frozen=True)
class Encoder:
    folder: Path
    settings: dict[str, Any]  # its config.json
    commit: str | None  # of the hub's repository; None for a folder of the project
    digest: str  # sha256 of its files


def check_place(path: str) -> None:
    """Raises: ValueError for what is neither a name on the hub nor a folder of `weights/`."""
    own = path.startswith(FOLDER) and ".." not in Path(path).parts
    if not own and (path.startswith(FOLDER) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path)):
        raise ValueError(
            f"path: found {path!r}; expected an encoder's name on the hub, such as hfl/rbt3, or a folder in {FOLDER}"
        )


def find(path: str, revision: str) -> Encoder:
    """The encoder in a folder of `weights/`, or on the hub, whose files then lie in Hugging Face's own cache.

    Raises: DataError for an encoder that cannot be had, or has no weights as safetensors.
    """
    folder = _own(path) if path.startswith(FOLDER) else _fetched(path, revision)
    try:
        settings = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: config.json cannot be read ({error}); expected that of an encoder") from None
    files = sorted({file for pattern in (*FILES, *WEIGHTS) for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        raise DataError(
            f"{path}: found no {WEIGHTS[0]}; expected the weights as safetensors, since a pickle runs what it holds; "
            "save the encoder once more with `save_pretrained`"
        )
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    commit = None if path.startswith(FOLDER) else folder.name
    return Encoder(folder, {k: v for k, v in settings.items() if k not in IDLE}, commit, digest.hexdigest())


def _own(path: str) -> Path:
    if not Path(path).is_dir():
        raise DataError(
            f"{path}: no such folder; expected an encoder's config.json, {WEIGHTS[0]} and tokenizer.json; "
            "put them there, or give model.path a name on the hub"
        )
    return Path(path)


def _fetched(name: str, revision: str) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*FILES, *WEIGHTS]))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"{name} (revision {revision}): not had from Hugging Face's hub nor its cache here "
            f"({str(error).splitlines()[0]}); expected config.json and {WEIGHTS[0]} of an encoder; correct the name or "
            f"the network, or put these and tokenizer.json into {FOLDER}{name.rpartition('/')[2]} and name that folder"
        ) from None
