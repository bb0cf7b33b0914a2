"""Brings a journal's records into MLflow: any number of times, with every point there once.

MLflow's key of a metric point is (run, name, step, time, value), so a batch whose answer was lost is
sent again without harm; a run is found again by its tag `danlu.journal` instead of being made twice.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking import store
from pipeline.tracking.journal import Journal

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "danlu.journal"
BATCH = 1000  # MLflow's limit of metrics a batch
SMALL_BATCH = 100  # and of parameters and of tags


def deliver(client: "MlflowClient", journal: Journal, *, abandoned: bool = False) -> str:
    """Sends what is new, and ends the run when its journal says so, or when it is `abandoned` by its writer.

    Returns: MLflow's run id. Raises: whatever MLflow raises; the journal then stays for another time.
    """
    sent = journal.sent()
    fresh = list(journal.records(sent["offset"]))
    run_id = sent["run_id"] or _run(client, journal)
    ended = None
    offset = sent["offset"]
    for chunk in _chunks(fresh):
        _send(client, run_id, [record for _, record in chunk])
        ended = next((record for _, record in chunk if "end" in record), ended)
        offset = chunk[-1][0]
        journal.acknowledge(run_id, offset)
    if not fresh and not sent["run_id"]:
        journal.acknowledge(run_id, offset)
    if ended or abandoned:
        if journal.files.exists():
            client.log_artifacts(run_id, str(journal.files))
        last = ended or {"end": "KILLED", "time": _last_time(journal)}
        client.set_terminated(run_id, last["end"], last["time"])
        journal.retire()
    return run_id


def deliver_leftovers(client: "MlflowClient", folder: Path) -> int:
    """Delivers the journals whose writers are gone; returns how many."""
    count = 0
    for path in sorted(folder.glob("*.jsonl")):
        journal = Journal.adopt(path)
        if journal is None:
            continue
        try:
            if next(journal.records(), None) is None:
                journal.retire()  # its writer died before the first record
            else:
                deliver(client, journal, abandoned=True)
                count += 1
        finally:
            journal.release()
    return count


def _opening(path: Path) -> dict[str, Any]:
    """A journal's first record; where the journal is gone, as a parent's may be, what its key tells."""
    for place in (path, path.parent / "sent" / path.name):
        if place.exists():
            with place.open(encoding="utf-8") as file:
                return dict(json.loads(file.readline()))
    return {"time": None, "name": path.stem}


def _last_time(journal: Journal) -> int:
    time = 0
    for _, record in journal.records():
        time = record["time"]
    return time


def _chunks(records: list[tuple[int, dict[str, Any]]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Runs of records that together fit into one MLflow batch."""
    chunk: list[tuple[int, dict[str, Any]]] = []
    size = 0
    for item in records:
        weight = max(len(item[1].get("values", ())), 10 * len(item[1].get("tags", ())))
        if chunk and size + weight > BATCH:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += weight
    if chunk:
        yield chunk


def _send(client: "MlflowClient", run_id: str, records: list[dict[str, Any]]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [
        Metric(_name(name), value, record["time"], record["step"])
        for record in records
        for name, value in record.get("values", {}).items()
    ]
    params = [Param(_name(k), v[:6000]) for record in records for k, v in record.get("params", {}).items()]
    tags = [RunTag(_name(k), v[:5000]) for record in records for k, v in record.get("tags", {}).items()]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH], synchronous=True)
    for start in range(0, max(len(params), len(tags)), SMALL_BATCH):
        stop = start + SMALL_BATCH
        client.log_batch(run_id, params=params[start:stop], tags=tags[start:stop], synchronous=True)


def _name(name: str) -> str:
    """The name with what MLflow does not allow in one replaced."""
    parts = re.sub(r"[^\w./: -]", "_", name)[:250].split("/")
    return "/".join("_" if part.strip(".") == "" else part for part in parts)


def _run(client: "MlflowClient", journal: Journal) -> str:
    """The MLflow run of a journal, made when missing, inside its parent's."""
    opening = _opening(journal.path)
    parent = opening.get("parent")
    tags = {KEY: journal.key}
    if parent:
        above = _opening(journal.path.with_name(f"{parent}.jsonl"))
        tags["mlflow.parentRunId"] = _found_or_made(client, parent, above, {KEY: parent})
    return _found_or_made(client, journal.key, opening, tags)


def _found_or_made(client: "MlflowClient", key: str, opening: dict[str, Any], tags: dict[str, str]) -> str:
    experiment = store.experiment(client)
    with store.locked("runs"):
        found = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        made = client.create_run(experiment, opening["time"], tags, opening["name"])
        return str(made.info.run_id)
