"""A folder as the remote: a second clone pulls, trains nothing, and ends with the champion loadable."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def pushed(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The address of the finished project, its result committed and its data pushed."""
    store = tmp_path_factory.mktemp("store")
    finished.run("dvc", "remote", "add", "--default", "--force", "store", str(store))
    finished.run("dvc", "config", "remote.store.verify", "true")
    finished.git("add", "-A")
    finished.git("commit", "-q", "--allow-empty", "-m", "Train")
    finished.run("dvc", "push")
    return finished.folder


def clone(origin: Path, folder: Path) -> Project:
    project = Project(folder)
    project.git("clone", "-q", str(origin), ".")
    return project


def test_a_run_in_a_second_clone_trains_nothing_and_the_champion_answers(pushed: Path, tmp_path: Path) -> None:
    second = clone(pushed, tmp_path)
    second.run("dvc", "pull")
    done = second.danlu("run")
    assert "starting Prefect" not in done.stderr
    assert " ran " not in done.stdout
    assert (second.folder / "mlflow.db").is_file()
    assert second.danlu("predict", "opinions", "质量很好").stdout.strip()


def test_a_damaged_object_in_the_remote_is_refused(pushed: Path, tmp_path: Path, finished: Project) -> None:
    md5 = finished.hashes("features")["data/features/opinions"]
    store = Path((pushed / ".dvc/config").read_text().split("url = ")[1].splitlines()[0])
    damaged = store / "files/md5" / md5[:2] / md5[2:]
    good = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    try:
        second = clone(pushed, tmp_path)
        done = second.start("dvc", "pull", stderr=-1, stdout=-1)
        _, errors = done.communicate(timeout=300)
        assert done.returncode != 0, errors
    finally:
        damaged.write_bytes(good)


def test_a_deleted_database_is_filled_again(finished: Project) -> None:
    for path in finished.folder.glob("mlflow.db*"):
        path.unlink()
    done = finished.danlu("run")
    assert " ran " not in done.stdout
    assert finished.danlu("predict", "opinions", "质量很好").stdout.strip()


def test_a_reverted_parameter_ends_with_the_right_champion(
    fresh: Callable[[], Project],
) -> None:
    """DVC's run cache brings the old receipt back without running register: the run reconciles it."""
    project = fresh()
    project.danlu("run", "opinions")
    first = project.json("data/registered/opinions/receipt.json")
    params = (project.folder / "params.yaml").read_text("utf-8")
    project.set({"opinions": {"baseline": {"strength": 0.5}}})
    project.danlu("run", "opinions")
    (project.folder / "params.yaml").write_text(params, "utf-8")
    done = project.danlu("run", "opinions")
    assert " ran " not in done.stdout.replace("report", "")
    assert project.json("data/registered/opinions/receipt.json")["sha256"] == first["sha256"]
    registered = json.loads(project.danlu("summary", "--json").stdout)["tasks"]["opinions"]["registered"]
    assert "champion" in registered["aliases"]
    assert project.danlu("predict", "opinions", "质量很好").stdout.strip()
