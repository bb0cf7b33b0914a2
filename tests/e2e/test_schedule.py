"""The deployment of prefect.yaml fires by itself, through a real server and a real worker, on loopback alone."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def served(fresh: Callable[[], Project]) -> Iterator[tuple[Project, dict[str, str], subprocess.Popen[str]]]:
    """A project that nothing has run, the addresses of `danlu ui` there, and its process; the usual ports are taken."""
    project = fresh()
    with project.start("flows.ui", stdout=subprocess.PIPE) as process:
        assert process.stdout
        addresses = {}
        for line in process.stdout:
            if found := re.match(r"(\w+): (http://\S+)", line):
                addresses[found[1]] = found[2]
            if "Ctrl-C" in line:
                break
        yield project, addresses, process
        process.terminate()
        assert process.wait(60) == 130


def test_both_pages_answer_and_listen_on_loopback_alone(served: tuple[Project, dict[str, str], Any]) -> None:
    _, addresses, process = served
    assert set(addresses) == {"MLflow", "Prefect"}
    for address in addresses.values():
        with urllib.request.urlopen(address, timeout=30) as page:
            assert page.status == 200
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    heard = {c.laddr.ip for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert heard == {"127.0.0.1"}


def ask(address: str, path: str, **body: object) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_the_schedule_fires(served: tuple[Project, dict[str, str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    project, addresses, _ = served
    yaml = (project.folder / "prefect.yaml").read_text()
    yaml = yaml.replace('cron: "0 2 * * *"', 'cron: "* * * * *"').replace(
        "parameters: {}", "parameters: {until: fetch}"
    )
    (project.folder / "prefect.yaml").write_text(yaml)
    address = addresses["Prefect"]
    environment = project.environment | {
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_HOME": str(project.folder / ".p"),
    }
    prefect = Path(sys.executable).with_name("prefect")

    def command(*words: str) -> None:
        subprocess.run([prefect, "--no-prompt", *words], cwd=project.folder, env=environment, check=True, timeout=300)

    command("work-pool", "create", "danlu", "--type", "process")
    command("deploy", "--all")
    worker = subprocess.Popen(
        [prefect, "worker", "start", "--pool", "danlu", "--type", "process"], cwd=project.folder, env=environment
    )
    try:
        first = finished_run(address)
    finally:
        end(worker)
    assert first["state_type"] == "COMPLETED", first["state"]
    assert first["auto_scheduled"]
    assert set(project.hashes("raw")) == {"data/raw/cells", "data/raw/opinions"}
    artifacts = ask(address, "/artifacts/filter", limit=20)
    told = next(artifact["data"] for artifact in artifacts if artifact["key"] == "danlu-run")
    assert "| fetch@cells | ran |" in told


def end(worker: "subprocess.Popen[bytes]") -> None:
    """Asks it to stop; a worker that is held up by the next minute's run on a busy machine is ended with its family."""
    worker.terminate()
    try:
        worker.wait(90)
    except subprocess.TimeoutExpired:
        for process in [*psutil.Process(worker.pid).children(recursive=True), worker]:
            process.kill()
        worker.wait(30)


def finished_run(address: str, patience: float = 600) -> dict[str, Any]:
    """The first run of the deployment that has ended."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        ended = {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}
        runs = ask(address, "/flow_runs/filter", flows={"name": {"any_": ["nightly"]}}, flow_runs={"state": ended})
        if runs:
            return dict(runs[0])
        time.sleep(2)
    raise AssertionError(f"no scheduled run ended within {patience:.0f} s")
