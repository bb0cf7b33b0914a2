"""One run at a time in a checkout, what a killed run left behind, and DVC's own lock file made whole."""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from pipeline.artifacts import STATE, whole
from pipeline.errors import PipelineError

RUN = STATE / "locks" / "run"
RWLOCK = Path(".dvc/tmp/rwlock")
MARK = "DANLU_RUN"  # in the environment of every process that a run starts


class BusyError(PipelineError):
    pass


@contextmanager
def run(command: str) -> Iterator[str]:
    """Holds the checkout for one run, ends what a killed one left, heals DVC's lock; gives the run's own word.

    The system frees the lock when the process dies, so that it never needs to be removed by hand.
    Raises: BusyError naming a live holder.
    """
    RUN.parent.mkdir(parents=True, exist_ok=True)
    with RUN.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(_busy(file)) from None
        file.seek(0)
        end_orphans(_mark_in(file.read()))
        heal()
        mark = uuid.uuid4().hex
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "command": command, "since": time.time(), "mark": mark}))
        file.flush()
        os.environ[MARK] = mark
        try:
            yield mark
        finally:
            os.environ.pop(MARK, None)


def _holder(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _mark_in(text: str) -> str:
    return str(_holder(text).get("mark", ""))


def _busy(file: Any) -> str:
    file.seek(0)
    holder = _holder(file.read())
    since = time.strftime("%H:%M:%S", time.localtime(holder["since"])) if "since" in holder else "a moment ago"
    who = f"`{holder.get('command', 'danlu run')}` (process {holder.get('pid', 'unknown')}, since {since})"
    return f"{RUN}: held by {who}; expected one run at a time in a checkout; wait for it, or end that process"


def marked(mark: str) -> list[psutil.Process]:
    """The live processes of this user that a run with this mark started, this one left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # another user's, or gone
    return found


def end_orphans(mark: str, grace: float = 10.0) -> None:
    """Ends what a killed run's stages still do: two writers in one folder would mix their files."""
    if not mark:
        return
    orphans = marked(mark)
    for process in orphans:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(orphans, timeout=grace)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=grace)


def _quietly(action: Any) -> None:
    with suppress(psutil.NoSuchProcess):  # gone by itself
        action()


def heal(path: Path = RWLOCK) -> None:
    """Rewrites DVC's lock file without the entries of dead processes and of live ones that are no DVC.

    A kill can leave it empty or cut off, and a process id in it can since belong to another program; DVC then
    refuses every command for ever.
    Raises: BusyError when a live DVC command holds something.
    """
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        with whole(path) as building:
            building.write_text("{}", "utf-8")
        return
    for entry in _entries(found):
        if _is_dvc(entry, path):
            raise BusyError(
                f"{path}: held by `dvc {entry.get('cmd', '')}` (process {entry['pid']}); expected no other DVC command "
                "in this checkout; wait for it, or end that process"
            )
    if found:
        with whole(path) as building:
            building.write_text("{}", "utf-8")


def _entries(lock: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in ("read", "write"):
        held = lock.get(kind)
        for infos in held.values() if isinstance(held, dict) else []:
            found += [i for i in (infos if isinstance(infos, list) else [infos]) if isinstance(i, dict) and "pid" in i]
    return found


def _is_dvc(entry: dict[str, Any], lock: Path) -> bool:
    """Whether the entry's process lives, runs DVC and began before the lock file was last written."""
    try:
        process = psutil.Process(int(entry["pid"]))
        words = process.cmdline()
        young = process.create_time() > lock.stat().st_mtime + 1
    except (psutil.NoSuchProcess, ValueError, TypeError, OverflowError):
        return False
    except psutil.AccessDenied:
        return False  # another user's: never a DVC of this checkout
    return not young and process.pid != os.getpid() and any("dvc" in Path(word).name for word in words[:4])
