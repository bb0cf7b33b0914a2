"""A study on disk: Optuna's journal of one file, which any number of processes write and no kill can tear.

`journal.log` holds every operation, `leases/<number>` is locked by the worker that trains a trial for as long as it
lives: a trial that runs without one is an orphan, and the next worker takes it over with its parameters and its
checkpoint. So no trial is lost, and none is run twice. A trial is written whole, its parameters with it.
"""

import contextlib
import fcntl
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

NAME = "study"
LOG = "journal.log"
LIVES = 12
"""Deaths of a trial's workers in a row, without an epoch in between, after which it has failed."""
Direction = Literal["minimize", "maximize"]


class Lock(JournalFileOpenLock):
    """A lock that the system frees when its holder dies; Optuna's own, which are files, stay for 30 s.

    Whoever holds it first cuts off a line that a dead writer has left torn, which would spoil the next one.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_suffix(".lock")
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        file = self._path.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        _mend(self._journal)
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _mend(path: Path) -> None:
    """Cuts off what stands after the last whole line."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        end = file.seek(0, 2)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        if end < file.seek(0, 2):
            file.truncate(end)


class Lease:
    """A trial that this process trains, until it is told how that ended, or `close`."""

    def __init__(self, file: IO[bytes], trial: FrozenTrial) -> None:
        self._file, self.trial = file, trial

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def params(self) -> dict[str, Any]:
        return self.trial.params

    def close(self) -> None:
        self._file.close()


class Study:
    """The study in `folder`, made where there is none."""

    def __init__(self, folder: Path, direction: Direction, pruner: BasePruner | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.direction = folder, direction
        (folder / "leases").mkdir(parents=True, exist_ok=True)
        with self._held():  # two processes would make two studies of one name
            self.storage = open_storage(folder)
            self._study = optuna.create_study(
                study_name=NAME, storage=self.storage, direction=direction, pruner=pruner, load_if_exists=True
            )

        self._number = self.storage.get_study_id_from_name(NAME)

    def _id(self, number: int) -> int:
        """The storage's own number of a trial."""
        return self.storage.get_trial_id_from_study_id_trial_number(self._number, number)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with (self.folder / "take.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def trials(self) -> list[FrozenTrial]:
        """All of them, by number."""
        return self._study.get_trials(deepcopy=False)

    def take(
        self,
        distributions: dict[str, BaseDistribution],
        most: int,
        sampler: Callable[[int], BaseSampler],
        first: Mapping[str, Any] = MappingProxyType({}),
    ) -> Lease | None:
        """An orphan, else a new trial while there are fewer than `most`; None where there is neither.

        sampler: makes the one that draws the trial of a number, so that its draws depend on nothing but the study.
        first: what trial 0 has of parameters; the others of it are drawn.
        """
        with self._held():
            known = self.trials()
            for trial in known:
                if (lease := self._orphan(trial)) and self._outlived(lease):
                    return lease
            if len(known) >= most:
                return None
            return self._lease(self._new(distributions, known, sampler(len(known)), first))

    def _orphan(self, trial: FrozenTrial) -> Lease | None:
        if trial.state is not TrialState.RUNNING or (lease := self._lease(trial)) is None:
            return None
        if self.storage.get_trial(self._id(trial.number)).state is TrialState.RUNNING:
            return lease
        lease.close()  # its worker has told of its end since the trials were read
        return None

    def _lease(self, trial: FrozenTrial) -> Lease | None:
        file = (self.folder / "leases" / str(trial.number)).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return Lease(file, trial)

    def _outlived(self, lease: Lease) -> bool:
        """Whether the trial may be tried again; one that kills its workers is recorded as failed."""
        deaths = [*lease.trial.user_attrs.get("deaths", ()), len(lease.trial.intermediate_values)]
        self.note(lease, "deaths", deaths)
        if len(deaths) < LIVES or len(set(deaths[-LIVES:])) > 1:
            return True
        self.fail(lease, f"{LIVES} workers in a row died while they trained it")
        return False

    def _new(
        self,
        distributions: dict[str, BaseDistribution],
        known: list[FrozenTrial],
        sampler: BaseSampler,
        first: Mapping[str, Any],
    ) -> FrozenTrial:
        """Drawn in memory and written in one operation: a kill leaves it whole or not at all."""
        shadow = optuna.create_study(direction=self.direction, sampler=sampler)
        shadow.add_trials(known)
        if first and not known:
            shadow.enqueue_trial(dict(first))
        drawn = shadow.ask(distributions)
        whole = optuna.trial.create_trial(state=TrialState.RUNNING, params=drawn.params, distributions=distributions)
        self.storage.create_new_trial(self._number, whole)
        return self.trials()[len(known)]

    def report(self, lease: Lease, epoch: int, value: float, *, ask: bool = True) -> bool:
        """Records an epoch's value, once; returns whether the pruner, if it is asked, ends the trial.

        Of epochs that are told again after a kill the last alone is judged again: it may not have been.
        """
        trial = optuna.trial.Trial(self._study, self._id(lease.number))
        known = self.storage.get_trial(self._id(lease.number)).intermediate_values
        if epoch not in known:
            trial.report(value, epoch)
        return ask and epoch >= max(known, default=epoch) and trial.should_prune()

    def complete(self, lease: Lease, value: float) -> None:
        """The trial's value. One that is no number fails."""
        if not math.isfinite(value):
            self.fail(lease, f"its value is {value}")
            return
        self._study.tell(lease.number, value)
        lease.close()

    def prune(self, lease: Lease, reason: str) -> None:
        self.note(lease, "pruned", reason)
        self._study.tell(lease.number, state=TrialState.PRUNED)
        lease.close()

    def fail(self, lease: Lease, reason: str) -> None:
        self.note(lease, "error", reason[:1000])
        self._study.tell(lease.number, state=TrialState.FAIL)
        lease.close()

    def note(self, lease: Lease, key: str, value: Any) -> None:
        """A fact about a trial, kept with it."""
        self.storage.set_trial_user_attr(self._id(lease.number), key, value)

    @property
    def epochs(self) -> int:
        """Of all trials, ended or not."""
        return sum(len(trial.intermediate_values) for trial in self.trials())

    def best(self) -> FrozenTrial | None:
        """The completed trial with the best value, of equals the first."""
        return best(self.trials(), self.direction)


def best(trials: list[FrozenTrial], direction: Direction) -> FrozenTrial | None:
    """The completed one with the best value, of equals the first; None where none has completed."""
    sign = 1 if direction == "minimize" else -1
    ended = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return min(ended, key=lambda trial: sign * float(trial.value or 0.0), default=None)


def open_storage(folder: Path) -> optuna.storages.JournalStorage:
    """As optuna-dashboard and Optuna's own command line read it too."""
    path = folder / LOG
    return optuna.storages.JournalStorage(JournalFileBackend(str(path), Lock(path)))


def seconds(trial: FrozenTrial) -> float | None:
    """From a trial's start to its end; None while it runs."""
    if not isinstance(trial.datetime_start, datetime) or trial.datetime_complete is None:
        return None
    return (trial.datetime_complete - trial.datetime_start).total_seconds()
