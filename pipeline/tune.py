"""Stage tune: the values that train uses: params.yaml's own, or the best that a search among them has found."""

import hashlib
import logging
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, prepared, stage, training
from pipeline.config import Task
from pipeline.errors import TrainingError
from pipeline.fit import settings as fit
from pipeline.search import values
from pipeline.search.settings import Config

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Config", "main", "search"]
log = logging.getLogger(__name__)
CODE = ("metrics", "pruners", "samplers", "search")
"""Folders whose files decide what is tried and how it is judged, beside those of `training.fingerprint`."""


def search(task: Task, config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of the best trial, as values.json has them, and the study, as study.json has it.

    Goes on from what an earlier run of the same search has left. Raises: TrainingError where no trial has completed.
    """
    from pipeline.search import crew, journal, record, worker
    from pipeline.tracking.runs import Run

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    space, own = values.space(task, config), values.of(task)
    measure = values.measure(config, prepared.target(artifacts.folder("prepared", task.name)).kind)
    direction = values.direction(measure)
    folder = artifacts.STATE / "studies" / f"{task.name}-{fingerprint(task, config, own)}"
    study = journal.Study(folder, direction)
    if known := len(study.trials()):
        log.info("tune %s: going on with a study of %d trial%s", task.name, known, "s" * (known != 1))
    with Run(task.name, "tune", asdict(config), collects=True) as run, training.stopping() as stop:
        training.ask_teacher(task, own["pins"], folder, stop)
        worker.hand_out(task, own["pins"], folder)
        crew.Crew(
            task.name, study, config.workers, config.minutes, run.key, devices(task.section("train", fit.Config)), stop
        ).work()
        trials = study.trials()
        best = journal.best(trials, direction)
        if best is None:
            raise TrainingError(f"tune {task.name}: {_nothing(trials)}")
        found = record.study(trials, space, config, measure, direction)
        run.log(0, {f"best/{measure}": float(best.value or 0.0), "trials": len(trials)})
        run.tag("best.trial", str(best.number))
        with_best = values.of(space.overlaid(task, best.params), own["pins"])
    log.info("tune %s: best of %s: trial %d, %s %.4f; %s", task.name, _counted(trials), best.number, measure,
             float(best.value or 0.0), values.told(best.params))  # fmt: skip
    _forget(folder, task.name)
    return with_best, found


def _counted(trials: list["FrozenTrial"]) -> str:
    from pipeline.search.record import STATES

    counts = {name: sum(STATES[trial.state.name] == name for trial in trials) for name in STATES.values()}
    return (
        f"{len(trials):,} trial{'s' * (len(trials) != 1)} ("
        + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        + ")"
    )


def _nothing(trials: list["FrozenTrial"]) -> str:
    """Why there is no best trial, in words."""
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    if failed:
        said = f"trial {failed[0].number}: {failed[0].user_attrs.get('error', 'no reason')}"
        return f"found no completed trial among {_counted(trials)}; expected one; the first that failed: {said}"
    return (
        f"found no completed trial among {_counted(trials)}; expected one; raise tune.minutes or tune.trials, or take "
        "pruner: {name: none}; run again to go on with the study"
    )


def _forget(folder: Path, task: str) -> None:
    """Drops the studies of other values, code or data."""
    for old in folder.parent.glob(f"{task}-{'[0-9a-f]' * 16}"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def devices(train: fit.Config) -> list[str]:
    """The CUDA devices that workers take in turn; none where training is on the CPU."""
    if train.device == "cpu":
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def fingerprint(task: Task, config: Config, own: dict[str, Any]) -> str:
    """A hash of all that decides a trial: the study of anything else is never gone on with.

    More trials, minutes or workers go on with the study that there is.
    """
    import optuna

    same = replace(config, trials=0, minutes=None, workers=1)
    digest = hashlib.sha256(training.fingerprint(task, own).encode())
    digest.update(repr((asdict(same), optuna.__version__)).encode())
    here = Path(__file__).parent
    for path in [here / "training.py", *(path for name in CODE for path in sorted((here / name).glob("*.py")))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def main(task: Task) -> None:
    config = task.section("tune", Config)
    found, study = search(task, config) if config.trials else (values.of(task), None)
    with artifacts.fresh(artifacts.folder("tuned", task.name)) as out:
        artifacts.write_json(out / "values.json", found)
        if study is not None:
            from pipeline.search import record

            record.write(out, study)


if __name__ == "__main__":
    stage.run("tune", main)
