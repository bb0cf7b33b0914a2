"""The trained network behind a registered version: its weights, what they mean, and the words that it knows."""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import artifacts
from pipeline.errors import RegistryError
from pipeline.tracking import bundle, registry, store

log = logging.getLogger(__name__)
FOLDER = "trained"
WEIGHTS, ABOUT, WORDS = "weights.safetensors", "model.json", "vocabulary.json"


@dataclass(frozen=True)
class Registered:
    uri: str  # models:/<name>/<number>
    sha256: str  # of its bundle


def resolve(name: str, alias: str | None, number: int | None) -> Registered:
    """The version that an alias names now, or the one of a number. Raises: RegistryError where there is none."""
    models = registry.Models(store.client(), name)
    if alias is not None:
        found = models.holder(alias)
    else:
        found = next((version for version in models.versions() if version.number == number), None)
    if found is None:
        asked = f"{name}@{alias}" if alias else f"{name}/{number}"
        there = [f"{name}@{known}" for known in models.aliases()]
        there += [f"{name}/{version.number}" for version in models.versions()]
        raise RegistryError(
            f"models:/{asked}: found no such version in {store.tracking_uri()}; expected one of "
            f"{', '.join(there) or 'its versions, of which there are none'}; run `danlu run` for its task first"
        )
    return Registered(found.uri, found.sha256)


def files(task_folder: Path, features: Path) -> Mapping[str, Path]:
    """What travels with a network that is registered: of data/models/<task> and data/features/<task>."""
    found = {WEIGHTS: task_folder / WEIGHTS, ABOUT: task_folder / ABOUT, WORDS: features / WORDS}
    return found if found[WORDS].is_file() else {name: found[name] for name in (WEIGHTS, ABOUT)}


def require(uri: str, sha256: str) -> None:
    """Raises: RegistryError where a version is gone, or is not the one whose bundle was pinned."""
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    _same(uri, resolve(name, None, int(number)).sha256, sha256)


def _same(uri: str, found: str, expected: str) -> None:
    if found != expected:
        raise RegistryError(
            f"{uri}: found sha256 {found[:8]}…; expected {expected[:8]}…, as tune saw it; run tune again, or bring the "
            "registry back that it saw"
        )


def _verify(folder: Path, uri: str, sha256: str) -> None:
    """Raises: RegistryError for files that are not as they were registered with the bundle of this sha256."""
    if not (folder / bundle.MANIFEST).is_file():
        log.warning("%s: registered before its weights had a hash: they are taken as they are", uri)
        return
    _same(uri, bundle.verify(folder)["bundle"], sha256)


def fetch(uri: str, sha256: str) -> Path:
    """The folder with these files of the version whose bundle has this sha256, checked; fetched once.

    Raises: RegistryError for files that have changed, and for a version without them: one whose winner is no network,
    or that was registered before weights travelled along.
    """
    store.client()
    import mlflow
    from mlflow.exceptions import MlflowException

    kept = store.state() / "registered" / hashlib.sha256(f"{store.tracking_uri()} {uri}".encode()).hexdigest()[:16]
    with store.locked("weights"):
        if kept.is_dir():
            try:
                _verify(kept, uri, sha256)
                return kept
            except RegistryError as error:
                log.warning("%s; fetching it again", error)
        try:
            with artifacts.fresh(kept) as building:
                found = mlflow.artifacts.download_artifacts(f"{uri}/artifacts/{FOLDER}", dst_path=str(building))
                for path in Path(found).iterdir():
                    shutil.copyfile(path, building / path.name)
                if not (building / WEIGHTS).is_file():
                    raise FileNotFoundError(WEIGHTS)
                for way in [path for path in building.iterdir() if path.is_dir()]:  # such as artifacts/
                    shutil.rmtree(way)
                _verify(building, uri, sha256)
        except (MlflowException, OSError) as error:
            shutil.rmtree(kept.with_name(f".{kept.name}.building"), ignore_errors=True)
            line = " ".join(str(error).split())[:200]
            raise RegistryError(
                f"{uri}: found no weights of a network ({line}); expected a version whose winner is the network; "
                "run its task's register stage again, or name another version"
            ) from None
    return kept
