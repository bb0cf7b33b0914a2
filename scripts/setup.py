"""Makes .venv from requirements.lock, with uv where it runs and with pip otherwise; standard library alone.

A stamp in .venv names the lock, pyproject.toml and folder it was made from: while they stay, nothing is done.
TORCH_INDEX=<address of an index with the CPU build> takes torch and torchvision from there, and leaves the
CUDA packages out; .venv remembers it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "danlu.stamp"
UNFINISHED = VENV / "danlu.unfinished"  # there while packages are being installed
INDEX = VENV / "danlu.torch-index"
TURN = Path(".danlu/locks/setup")
LOCK = Path("requirements.lock")
CUDA = re.compile(r"(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def stamp() -> str:
    """What .venv depends on; its folder too, since its scripts name their interpreter by the full path."""
    digest = hashlib.sha256(str(Path.cwd()).encode())
    for path in (LOCK, Path("pyproject.toml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def torch_index() -> str:
    """The variable, or what .venv was made with."""
    return os.environ.get("TORCH_INDEX", "") or (INDEX.read_text("utf-8") if INDEX.is_file() else "")


def ready(wanted: str, index: str) -> bool:
    made_with = INDEX.read_text("utf-8") if INDEX.is_file() else ""
    return STAMP.is_file() and STAMP.read_text("utf-8") == wanted and made_with == index and works(str(PYTHON))


def works(*command: str) -> bool:
    """Whether a program is there and runs: a pyenv shim may do the one and not the other."""
    try:
        return subprocess.run([*command, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command])
    if done.returncode:
        sys.exit(
            f"set-up: `{' '.join(map(str, command[:6]))} …` ended with {done.returncode} (see above); expected 0; "
            "mend the cause and type the same again: it starts where it can"
        )


def interpreter() -> str:
    """The Python to make .venv from; when .venv's own runs this file, the one it was made from."""
    return getattr(sys, "_base_executable", None) or sys.executable


def make_venv(uv: bool) -> None:
    if UNFINISHED.exists() or not works(str(PYTHON)):
        print("set-up: making .venv anew", file=sys.stderr)
        shutil.rmtree(VENV, ignore_errors=True)
    if PYTHON.exists():
        return
    if uv:
        run("uv", "venv", "--quiet", "--python", interpreter(), VENV)
    else:
        run(interpreter(), "-m", "venv", VENV)


def packages(text: str) -> tuple[list[str], str]:
    """The lock's torch and torchvision as requirements, and the lock without them and their CUDA packages."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    kept = "".join(block for block in blocks if not CUDA.match(block))
    torch = re.findall(r"(?m)^(torch(?:vision)?==[^\s;]+)", text)
    return torch, kept


def install(uv: bool, index: str) -> None:
    """The lock is whole, so nothing is resolved: pip's own resolver may look past a pin to a dependency's extra."""
    if not uv and not works(str(PYTHON), "-m", "pip"):
        run(PYTHON, "-m", "ensurepip")
    pip = ["uv", "pip", "install", "--python", PYTHON] if uv else [PYTHON, "-m", "pip", "install", "--quiet"]
    if index:
        torch, rest = packages(LOCK.read_text("utf-8"))
        run(*pip, "--no-deps", "--index-url", index, *torch)
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write(rest)
            file.flush()
            run(*pip, "--require-hashes", "--no-deps", "-r", file.name)
    else:
        run(*pip, "--require-hashes", "--no-deps", "-r", LOCK)
    run(*pip, "--no-deps", "--no-build-isolation", "-e", ".")


def main() -> None:
    wanted, index = stamp(), torch_index()
    if ready(wanted, index):
        return
    TURN.parent.mkdir(parents=True, exist_ok=True)
    with TURN.open("w") as turn:  # two `make` at once: the second waits, and finds the work done
        fcntl.flock(turn, fcntl.LOCK_EX)
        if ready(wanted, index):
            return
        uv = shutil.which("uv") is not None and works("uv")
        print(
            f"set-up: installing the locked packages with {'uv' if uv else 'pip'} (minutes at first)", file=sys.stderr
        )
        make_venv(uv)
        STAMP.unlink(missing_ok=True)
        UNFINISHED.touch()
        install(uv, index)
        if index:
            INDEX.write_text(index, "utf-8")
        STAMP.write_text(wanted, "utf-8")
        UNFINISHED.unlink()


if __name__ == "__main__":
    main()
