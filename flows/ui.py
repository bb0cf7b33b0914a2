"""The MLflow and Prefect pages on this machine alone: `python -m flows.ui`, until Ctrl-C."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from flows import train
from pipeline.artifacts import STATE
from pipeline.errors import PipelineError

HOST = "127.0.0.1"
PATIENCE = 180.0  # seconds for a server's start on a busy machine


class PageError(PipelineError):
    pass


@dataclass(frozen=True)
class Page:
    """A server of pages. health: the path that answers once it is up."""

    name: str
    command: list[str]
    port: int
    health: str

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


def free_port(first: int) -> int:
    """The port asked for, or one that is free when another program has it."""
    for port in (first, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise PageError(f"port {first}: taken, and the system gave no other; expected a free port; end some servers")


def pages(mlflow_port: int, prefect_port: int) -> list[Page]:
    from pipeline.tracking import store

    mlflow, prefect = free_port(mlflow_port), free_port(prefect_port)
    python = [sys.executable, "-m"]
    store_uri = [
        "--backend-store-uri",
        store.tracking_uri(),
        "--default-artifact-root",
        (store.root() / "mlruns").as_uri(),
    ]
    return [
        Page(
            "MLflow",
            [*python, "mlflow", "server", "--host", HOST, "--port", str(mlflow), "--workers", "1", *store_uri],
            mlflow,
            "/health",
        ),
        Page(
            "Prefect",
            [*python, "prefect", "server", "start", "--host", HOST, "--port", str(prefect)],
            prefect,
            "/api/health",
        ),
    ]


def serve(mlflow_port: int = 5000, prefect_port: int = 4200) -> int:
    """Starts both servers, prints their addresses once they answer, and ends them on Ctrl-C.

    Raises: PageError when one does not start.
    """
    wanted = pages(mlflow_port, prefect_port)
    logs = STATE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PREFECT_API_URL": f"{wanted[1].address}/api"}
    running = []
    try:
        for page in wanted:
            log = (logs / f"ui-{page.name.lower()}.log").open("w")
            command = [sys.executable, "-m", "flows.leash", "10", *page.command]
            running.append(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            )
        for page, process in zip(wanted, running):
            _await(page, process)
            print(f"{page.name}: {page.address}", flush=True)
        print("Ctrl-C ends both", flush=True)
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
        raise PageError("a server ended by itself; expected both to run on; see .danlu/logs/ui-*.log")
    finally:
        for process in running:
            if process.stdin:
                process.stdin.close()
        for process in running:
            process.wait()


def _await(page: Page, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(page.address + page.health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise PageError(
        f"{page.name}: did not answer at {page.address}; expected it within {PATIENCE:.0f} s; "
        f"see .danlu/logs/ui-{page.name.lower()}.log"
    )


if __name__ == "__main__":
    sys.exit(train.guarded(serve))
