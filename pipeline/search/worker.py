"""One worker of a search: takes a trial, trains it as stage train would, records it, and takes the next.

`python -m pipeline.search.worker FOLDER STARTER`, the last a process number, as crew.py starts it.
"""

import logging
import math
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config, prepared, rank, stage, training, workers
from pipeline.config import Task
from pipeline.errors import PipelineError, StoppedError
from pipeline.fit.settings import Config as Train
from pipeline.fit.settings import Parallel
from pipeline.search import values
from pipeline.search.settings import Config
from pipeline.search.space import Space

if TYPE_CHECKING:
    from pipeline.search.journal import Lease, Study

log = logging.getLogger(__name__)
OVER = "over"
"""In the study's folder once its minutes are spent."""
WORK = "work.json"
"""In the study's folder: the task and what it starts from, as they were when the stage began."""


class Pruned(Exception):
    """A trial goes no further, for the reason that it says."""


@dataclass
class Recorder:
    """Takes the place of a tracked run in a training: every epoch goes to the run and to the study."""

    run: Any
    study: "Study"
    lease: "Lease"
    measure: str
    before: int  # epochs that are not kept once those of an average come
    last: int  # the epoch after which the pruner is not asked any more
    end: int  # the trial's last epoch
    best: float = math.inf  # the lowest validation loss, whose epoch is the one that counts
    value: float = math.nan  # what is measured at it
    epochs: int = 0

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Raises: Pruned."""
        self.run.log(epoch, row)
        self.epochs = epoch
        if epoch == self.before + 1 or row["validation_loss"] < self.best:
            self.best, self.value = row["validation_loss"], row[f"validation_{self.measure}"]
        # Not the epoch's own, which is noisy: what the trial would be worth if it ended here.
        if self.study.report(self.lease, epoch, self.value, ask=epoch <= self.last):
            raise Pruned(f"after epoch {epoch}, as one of the poorer ones there")
        if epoch < self.end and (self.study.folder / OVER).exists() and self.study.best() is not None:
            raise Pruned(f"after epoch {epoch}, as tune.minutes were over")


@dataclass(frozen=True)
class Work:
    """What every trial of a worker shares."""

    task: Task
    pins: dict[str, Any]  # what its weights and its teacher stand for, the same in every trial
    first: dict[str, Any]  # what trial 0 has of parameters
    config: Config
    space: Space
    study: "Study"
    measure: str

    def take(self) -> "Lease | None":
        """The next trial; None where there is none for this worker."""
        most = values.most(self.config, self.space)
        if (self.study.folder / OVER).exists():
            if self.study.best() is not None:
                return None
            most = 0  # what is at work goes on until one has completed
        sampler = config.plugin("samplers", self.config.sampler.name, "tune.sampler.name")

        def drawn(number: int) -> Any:
            seed = (self.config.seed + 1_000_003 * (number + 1)) % 2**32
            return sampler.build(self.config.sampler, self.space, seed)

        return self.study.take(self.space.distributions, most, drawn, self.first)

    def trial(self, lease: "Lease") -> None:
        """Trains a trial and records how it ended. Raises: StoppedError, OSError; the trial then stays to be taken."""
        from pipeline.tracking.runs import Run

        place = self.study.folder / "trials" / str(lease.number)
        with Run(self.task.name, f"trial {lease.number}", dict(lease.params), live=False) as run:
            try:
                said = self._trained(lease, place, run)
            except (StoppedError, OSError):
                raise
            except Pruned as reason:
                self.study.prune(lease, str(reason))
                said = f"pruned {reason}"
            except Exception as error:  # noqa: BLE001  a trial's values may break any code: it has failed, the study goes on
                self.study.fail(lease, _line(error))
                said = f"failed: {_line(error)}"
            run.tag("trial.state", said.partition(" ")[0].rstrip(":"))
        shutil.rmtree(place, ignore_errors=True)
        log.info("trial %d: %s; %s", lease.number, said, values.told(lease.params))

    def _trained(self, lease: "Lease", place: Path, run: Any) -> str:
        """Fits the network of a trial's values."""
        found = values.of(self.space.overlaid(self.task, lease.params), self.pins)
        _, model = config.named("models", found["model"], f"{self.task.where}.model")
        train = _alone(config.parse(Train, found["train"], f"{self.task.where}.train"), self.config.workers)
        last = config.plugin("pruners", self.config.pruner.name, "tune.pruner.name").last(
            self.config.pruner, train.epochs
        )
        before = train.average.before(train.epochs)
        recorder = Recorder(run, self.study, lease, self.measure, before, last, train.epochs)
        if (teacher := self.study.folder / training.TEACHER).is_file():
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(teacher, place / teacher.name)
        training.run(self.task, found["model"]["name"], model, train, place, recorder, found["pins"])
        self.study.complete(lease, recorder.value)
        return f"{self.measure} {recorder.value:.4f} after {recorder.epochs} epochs"


def _alone(train: Train, many: int) -> Train:
    """A trial trains in its worker's process, one of `many`, on its share of the cores."""
    share = max(1, workers.count() // many)
    threads = share if train.threads == "auto" else train.threads
    return replace(train, parallel=Parallel(), threads=threads, filling=train.filling or share)


def _line(error: Exception) -> str:
    said = " ".join(str(error).split())[:500]
    return said if isinstance(error, PipelineError) else f"{type(error).__name__}: {said}"


def hand_out(task: Task, pins: dict[str, Any], folder: Path) -> None:
    """Leaves in `folder` what its workers do, whatever becomes of params.yaml and of the registry meanwhile."""
    artifacts.write_json(folder / WORK, asdict(task) | {"pins": pins})


def work(folder: Path) -> None:
    """Trials until there is none left."""
    from pipeline.search.journal import Study

    given = artifacts.read_json(folder / WORK)
    pins = given.pop("pins")
    task = Task(**given)
    settings = task.section("tune", Config)
    space = values.space(task, settings)
    measure = values.measure(settings, prepared.target(artifacts.folder("prepared", task.name)).kind)
    pruner = config.plugin("pruners", settings.pruner.name, "tune.pruner.name")
    built = pruner.build(settings.pruner, values.epochs(task, space))
    first = values.own(task, space) if settings.own_first and settings.sampler.name != "grid" else {}
    shared = Work(task, pins, first, settings, space, Study(folder, values.direction(measure), built), measure)
    while (lease := shared.take()) is not None:
        with closing(lease):
            shared.trial(lease)


def main() -> None:
    folder, starter = sys.argv[1:]
    rank.tie(int(starter))
    logging.basicConfig(level=os.environ.get("DANLU_LOG", "INFO"), format="%(message)s", stream=sys.stderr)
    for noisy in ("pipeline.training", "pipeline.fit"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        work(Path(folder))
    except (PipelineError, OSError) as error:
        if not (told := stage.known(error)):
            raise
        print(f"tune: {told}", file=sys.stderr)
        sys.exit(told.exit_code)


if __name__ == "__main__":
    main()
