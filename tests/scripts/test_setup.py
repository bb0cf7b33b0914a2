"""Set-up: which Python it takes, what it leaves alone, and that an interruption costs no hand work."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny"
version = "1"
[tool.setuptools]
packages = []
"""


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts/setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lock_of(name: str) -> str:
    """One package's block of the real lock, with its hashes."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text("utf-8"))
    return next(block for block in blocks if block.startswith(f"{name}=="))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A project with one locked package, and the real scripts."""
    (tmp_path / "scripts").mkdir()
    for name in ("setup.sh", "setup.py"):
        shutil.copyfile(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "requirements.lock").write_text(lock_of("setuptools"))
    return tmp_path


def tools(folder: Path, **programs: str) -> Path:
    """A folder for the PATH with what setup.sh needs, and these programs."""
    folder.mkdir()
    for name in ("sh", "dirname"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def set_up(project: Path, path: str) -> "subprocess.CompletedProcess[str]":
    words = ["sh", "scripts/setup.sh"]
    kept = {key: value for key, value in os.environ.items() if key not in ("TORCH_INDEX", "VIRTUAL_ENV")}
    return subprocess.run(words, cwd=project, env=kept | {"PATH": path}, capture_output=True, text=True, timeout=280)


def test_without_a_python_that_runs_one_line_says_what_to_install(tiny: Path) -> None:
    shims = {f"python3.{minor}": "echo 'pyenv: command not found' >&2; exit 127" for minor in (11, 12, 13)}
    done = set_up(tiny, str(tools(tiny / "bin", **shims, python3="exit 1", python="exit 1")))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "3.11, 3.12 or 3.13" in done.stderr


def test_a_shim_that_fails_is_passed_over(tiny: Path) -> None:
    shims = {"python3.11": "exit 127", "python3.12": f'exec {sys.executable} "$@"'}
    (tiny / "scripts/setup.py").write_text("import sys; print('taken', sys.version_info[:2])")
    done = set_up(tiny, str(tools(tiny / "bin", **shims)))
    assert done.stdout.startswith("taken")


def test_the_cpu_build_leaves_cuda_out_and_everything_else_in(setup: ModuleType) -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    torch, rest = setup.packages(text)
    assert [line.partition("==")[0] for line in torch] == ["torch", "torchvision"]
    left = set(re.findall(r"(?m)^([\w.-]+)==", text)) - set(re.findall(r"(?m)^([\w.-]+)==", rest))
    assert {"torch", "torchvision", "triton"} <= left
    assert all(n.startswith(("nvidia-", "cuda-")) for n in left - {"torch", "torchvision", "triton"})
    assert "--hash=sha256:" in rest.partition("numpy==")[2][:300]


def test_every_locked_package_has_a_hash() -> None:
    for block in re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text("utf-8")):
        assert "--hash=sha256:" in block or not block.strip()


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_it_makes_the_environment_once_and_again_after_a_change_or_an_interruption(tiny: Path, installer: str) -> None:
    path = os.environ["PATH"]
    if installer == "pip":
        path = str(tools(tiny / "bin", **{"python3.11": f'exec {Path(sys.executable).resolve()} "$@"'}))
    elif not shutil.which("uv"):
        pytest.skip("no uv on the PATH")
    first = set_up(tiny, path)
    assert first.returncode == 0, first.stderr
    assert f"with {installer}" in first.stderr
    imported = [tiny / ".venv/bin/python", "-c", "import setuptools, importlib.metadata as m; m.version('tiny')"]
    assert subprocess.run(imported).returncode == 0

    assert set_up(tiny, path).stderr == ""

    (tiny / "pyproject.toml").write_text(PROJECT + "# changed\n")
    interrupted = subprocess.Popen(
        ["sh", "scripts/setup.sh"], cwd=tiny, env=os.environ | {"PATH": path}, start_new_session=True
    )
    while not (tiny / ".venv/danlu.unfinished").exists() and interrupted.poll() is None:
        time.sleep(0.005)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.wait()
    again = set_up(tiny, path)
    assert again.returncode == 0, again.stderr
    assert subprocess.run(imported).returncode == 0
    assert set_up(tiny, path).stderr == ""
