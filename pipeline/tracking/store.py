"""Where runs and models are kept, and a client for it with short time limits."""

import fcntl
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "danlu"
_IMPORTING = threading.Lock()
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # with MLflow's own limits a dead server blocks one call for 247 s
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",  # MLflow honours the word, not 1
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def root() -> Path:
    """The DVC project around the current folder; for a `dvc exp run --temp` copy, the project it was made from."""
    here = Path.cwd()
    parts = here.parts
    for k in range(len(parts) - 2):
        if parts[k : k + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:k])
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)


def state() -> Path:
    """The project's ignored folder for journals, locks and records."""
    return root() / ".danlu"


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def settings() -> None:
    """Sets the variables that MLflow reads, where the user has not."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the file lock `.danlu/locks/<name>.lock`, which the system frees when its holder dies."""
    path = state() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def quieten() -> None:
    """Keeps MLflow's advice about its own internals (each migration, each type hint) out of the user's log."""
    warnings.filterwarnings("ignore", module=r"mlflow(\.|$)")
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.types.type_hints", "mlflow.utils.environment"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def client() -> "MlflowClient":
    """A client for runs and models. A new database is created once, by one process."""
    settings()
    with _IMPORTING:
        quieten()
        import mlflow
    quieten()  # after the import: another thread's import may undo it
    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if not uri.startswith("sqlite:"):
        return mlflow.MlflowClient(uri, uri)
    with locked("mlflow"):  # the constructor already makes or migrates the tables
        made = mlflow.MlflowClient(uri, uri)
        made.search_experiments(max_results=1)
    return made


def experiment(made: "MlflowClient") -> str:
    """The id of the project's experiment, created when missing."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    with locked("mlflow"):
        found = made.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        local = tracking_uri().startswith("sqlite:")
        return made.create_experiment(name, (root() / "mlruns").as_uri() if local else None)
