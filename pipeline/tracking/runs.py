"""A stage's run: parameters, points and artefacts, written to a local journal and brought to MLflow beside the work.

The journal is the truth. A thread delivers it in batches; a tracker that is dead or slow costs the
training nothing, and what it missed is delivered at the run's end or by the next run.
"""

import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.tracking import provenance, store
from pipeline.tracking.delivery import deliver, deliver_leftovers
from pipeline.tracking.journal import Journal

LOG = logging.getLogger(__name__)
INTERVAL = 2.0  # seconds between two batches
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 600.0  # seconds without an attempt after a failed one
LAST_WAIT = 60.0  # seconds that a run's end waits for the last delivery
PARENT = "DANLU_PARENT_RUN"
_open_parents: dict[str, Journal] = {}  # held open, so that their locks tell others that this process lives


def journals() -> Path:
    return store.state() / "journal"


def flat(params: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """`{"train": {"epochs": 8}}` as `{"train.epochs": "8"}`; lists as JSON, passwords in URLs taken out."""
    found: dict[str, str] = {}
    for key, value in params.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            found[name] = provenance.without_secrets(text)
    return found


class Run:
    """One stage's run, as a context manager; an exception inside marks it FAILED and goes on.

    live: deliver while the stage works. False suits a stage of seconds: its journal is brought along by
    the next live run or by the flow's end, and MLflow (2-3 s) is not imported.
    collects: deliver, all the while, the runs that other processes have ended too.
    """

    def __init__(
        self, task: str, stage: str, params: Mapping[str, Any], *, live: bool = True, collects: bool = False
    ) -> None:
        self.task, self.stage = task, stage
        self.key = f"{time.strftime('%Y%m%d-%H%M%S')}-{task}-{stage}-{uuid.uuid4().hex[:8]}"
        self._params = flat(params)
        self._live, self._collects = live, collects
        self._closing = threading.Event()
        self._tried = threading.Event()
        self._id = ""

    def __enter__(self) -> Self:
        self._journal = Journal.create(journals(), self.key)
        opening = {"name": f"{self.task}/{self.stage}", "parent": os.environ.get(PARENT, "")}
        self._journal.append({**opening, "params": self._params, "tags": provenance.tags(self.task, self.stage)})
        if self._live:
            self._thread = threading.Thread(target=self._feed, name="tracking", daemon=True)
            self._thread.start()
        return self

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Points of one step, such as an epoch."""
        self._journal.append({"step": int(step), "values": {name: float(value) for name, value in values.items()}})

    def tag(self, key: str, value: str) -> None:
        self._journal.append({"tags": {key: provenance.without_secrets(str(value))}})

    def artifact(self, path: Path | str, to: str = "") -> None:
        """A file or folder, copied now and delivered at the run's end, into the folder `to` of its artefacts."""
        self._journal.keep(Path(path), to)

    @property
    def id(self) -> str:
        """MLflow's id of this run; empty while MLflow does not have it."""
        return self._id

    def wait(self, seconds: float = 180.0) -> str:
        """MLflow's id of this run once a delivery has been tried; empty when the tracker did not answer."""
        self._tried.wait(seconds)
        return self._id

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.tag("error", f"{type(error).__name__}: {error}"[:500])
        self._journal.append({"end": "FINISHED" if error is None else "FAILED"})
        if not self._live:
            self._journal.release()
            return
        self._closing.set()
        self._thread.join(LAST_WAIT)
        if not self._thread.is_alive():
            self._journal.release()

    def _feed(self) -> None:
        pause, next_attempt, leftovers = 0.0, 0.0, True
        while True:
            closing = self._closing.is_set()
            if closing or time.monotonic() >= next_attempt:
                try:
                    client = store.client()
                    if not self._journal.retired:
                        self._id = deliver(client, self._journal)
                    if leftovers or self._collects:
                        self._tried.set()
                        leftovers = False
                        deliver_leftovers(client, journals())
                    pause = 0.0
                except Exception as failure:  # noqa: BLE001 - a tracker's trouble, of whatever kind, is no reason to stop a training
                    pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * pause))
                    next_attempt = time.monotonic() + pause
                    LOG.warning("tracking: %s; the journal keeps the points", _line(failure))
                self._tried.set()
            if closing:
                return
            self._closing.wait(INTERVAL)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def open_parent(name: str) -> str:
    """Opens the run that nests the stages of one flow run; its key goes to them as DANLU_PARENT_RUN.

    Costs a file: MLflow gets it with the first stage's run, or with `close_parent`.
    """
    word = re.sub(r"[^\w.-]+", "-", name)[:60]
    key = f"{time.strftime('%Y%m%d-%H%M%S')}-{word}-{uuid.uuid4().hex[:8]}"
    journal = Journal.create(journals(), key)
    journal.append({"name": name, "tags": {"danlu.invocation": provenance.invocation()}})
    _open_parents[key] = journal
    return key


def close_parent(
    key: str,
    status: str = "FINISHED",
    *,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Ends the flow run's run as FINISHED, FAILED or KILLED; returns MLflow's id, or "" when no tracker answers."""
    journal = _open_parents.pop(key)
    journal.append({"tags": {k: provenance.without_secrets(str(v)) for k, v in (tags or {}).items()}})
    if metrics:
        journal.append({"step": 0, "values": {k: float(v) for k, v in metrics.items()}})
    journal.append({"end": status})
    try:
        client = store.client()
        run_id = deliver(client, journal)
        deliver_leftovers(client, journals())
        return run_id
    except Exception as failure:  # noqa: BLE001 - as for a stage's run
        LOG.warning("tracking: %s; the journal keeps the run", _line(failure))
        return ""
    finally:
        journal.release()
