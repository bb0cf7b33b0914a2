"""Weights that torchvision publishes: found in weights/ or in torch's own cache, else fetched into that cache.

Their files' names carry the first digits of their sha256, which is compared at each use.
"""

import hashlib
import http.client
import os
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

from pipeline import artifacts
from pipeline.errors import ConfigError, DataError
from pipeline.initial.settings import FOLDER
from pipeline.tracking import store

USUAL = "resnet18"
USUAL_ADDRESS = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
"""What `danlu init` proposes, known without the seconds that torchvision takes to import."""
USUAL_SCALING = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
HALVED = ("efficientnet_v2_l", "googlenet", "inception_v3")
"""Architectures whose weights read pixels so; the last two make it of the usual scaling inside."""
SECOND_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""Of googlenet and inception_v3, in training alone."""
SILENCE = 30.0  # seconds without a byte, after which a download is given up
BLOCK = 1 << 20  # bytes


def address(architecture: str) -> str:
    """Of the best weights of an architecture. Raises: ConfigError where there are none."""
    from torchvision import models

    try:
        return str(models.get_model_weights(architecture).DEFAULT.url)
    except (ValueError, AttributeError):
        raise ConfigError(
            f"train.init: found pretrained for the architecture {architecture}, whose weights torchvision does not "
            "publish; expected another architecture, or train.init: random"
        ) from None


def name(address: str) -> str:
    return address.rpartition("/")[2]


def scaling(address: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of red, green and blue, of pixels in 0..1, that weights were trained with."""
    return HALF if name(address).startswith(HALVED) else USUAL_SCALING


def digest(address: str) -> str:
    """The first digits of the sha256, which the name ends with."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", address)
    assert found, address
    return found[1]


def cache() -> Path:
    """The folder in which torch keeps what it fetches, for all of a user's projects."""
    above = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(above).expanduser() / "hub" / "checkpoints"


def cached(address: str) -> Path | None:
    places = (FOLDER / name(address), cache() / name(address))
    return next((path for path in places if path.is_file()), None)


def fetched(address: str) -> Path:
    """The file with the weights. Raises: DataError for one that is not what was published, or cannot be fetched."""
    with store.locked("weights"):
        path = cached(address)
        if path is None:
            path = cache() / name(address)
            _download(address, path)
        _require(path, address, f"delete {path} and run again")
    return path


def _download(address: str, path: Path) -> None:
    way_out = f"fetch {address} elsewhere and put it to {FOLDER / path.name}, or set train.init: random"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for torn in path.parent.glob(f".{path.name}.*.building"):  # of a killed process
            torn.unlink(missing_ok=True)
        with artifacts.whole(path) as building, urllib.request.urlopen(address, timeout=SILENCE) as answer:
            with building.open("wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
            expected = answer.headers.get("Content-Length")
            if expected and building.stat().st_size < int(expected):
                raise DataError(
                    f"train.init: {address} broke off after {building.stat().st_size:,} of {int(expected):,} bytes; "
                    f"expected all; run again, or {way_out}"
                )
            _require(building, address, f"run again, or {way_out}")
    except (OSError, http.client.HTTPException) as error:  # urllib's own are OSErrors
        raise DataError(
            f"train.init: {address} cannot be had ({_reason(error)}); expected a network; {way_out}"
        ) from None


def _require(path: Path, address: str, way_out: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digest(address)):
        raise DataError(
            f"train.init: {name(address)}: found sha256 {found[:8]}…; expected {digest(address)}…, as published; "
            f"{way_out}"
        )


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", error) or type(error).__name__).split())[:200]


def out_of_reach(address: str, seconds: float = 3.0) -> str:
    """Why weights cannot be had now, in words; empty where they are cached or their server answers in time."""
    if cached(address):
        return ""
    said = [f"no answer within {seconds:g} s"]
    asking = threading.Thread(target=_ask, args=(address, seconds, said), daemon=True)
    asking.start()
    asking.join(seconds)  # a name that is not resolved has no time limit of its own
    return said[-1]


def _ask(address: str, seconds: float, said: list[str]) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds):
            said.append("")
    except (OSError, http.client.HTTPException) as error:
        said.append(_reason(error))
