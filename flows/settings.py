"""What a run sets in its environment before Prefect or DVC is imported; the main functions apply it, imports do not."""

import os
import sys
from pathlib import Path

from pipeline.artifacts import STATE
from pipeline.errors import ConfigError

DEFAULTS = {
    # Nothing is sent to the makers of the parts.
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",  # MLflow honours the word, not 1
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A temporary Prefect server takes 9-35 s to start on two busy cores; its own limit is 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # the run says itself what failed
    "PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL",  # nor what its database says when a server ends in the middle of a query
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def root() -> Path:
    """The project that the current folder belongs to: where dvc.yaml stands.

    Raises: ConfigError outside of any.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise ConfigError(f"{here}: no dvc.yaml here or above; expected the project's folder; change to it first")


def apply() -> None:
    """Enters the project's root and sets every variable that the user has not set.

    Raises: ConfigError outside of a project.
    """
    project = root()
    os.chdir(project)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(project / STATE / "prefect"))
    os.environ["DANLU_PYTHON"] = sys.executable  # the stages' Python: see pipeline/stage.sh
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if path[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, *path])
