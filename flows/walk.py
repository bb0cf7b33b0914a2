"""Walks the graph as a Prefect flow: one task a stage, independent stages at the same time."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from flows import graph as graphs
from flows import lockfile
from flows.graph import Graph
from flows.stages import Outcome, Running

RETRY_DELAY = 5.0  # seconds


class Walk:
    """The state of one walk: what has ended, what runs, what may start.

    stale: the stages that had changed by themselves at the start; others run when a stage before them
    left another output.
    """

    def __init__(self, graph: Graph, names: Sequence[str], stale: set[str], limit: int) -> None:
        self.graph, self.names, self.stale, self.limit = graph, names, stale, limit
        self.outcomes: dict[str, Outcome] = {}
        self.urgency = graphs.urgency(graph, names)
        self.running: set[str] = set()

    def settle(self) -> None:
        """Gives every stage that need not or cannot run its outcome."""
        for name in self.names:  # in the graph's order, so that one pass is enough
            if name in self.outcomes or name in self.running:
                continue
            needs = [self.outcomes.get(n) for n in self._needs(name)]
            if any(found is not None and not found.ok for found in needs):
                self.outcomes[name] = Outcome(name, "skipped")
            elif all(needs) and name not in self.stale and not self._inputs_changed(name, needs):
                self.outcomes[name] = Outcome(name, "unchanged")

    def _needs(self, name: str) -> list[str]:
        """The stages before this one that belong to this walk."""
        return [need for need in self.graph[name].needs if need in self.urgency]

    def _inputs_changed(self, name: str, needs: Sequence[Outcome | None]) -> bool:
        ran = any(found is not None and found.state in ("ran", "restored") for found in needs)
        return ran and graphs.inputs_changed(name)

    def next(self) -> str | None:
        """The stage to start now: of those that are ready the one with the longest chain behind it.

        While an exclusive stage runs, or is the next but has to wait for others, nothing starts.
        """
        if len(self.running) >= self.limit or any(self.graph[name].exclusive for name in self.running):
            return None
        waiting = [name for name in self.names if name not in self.outcomes and name not in self.running]
        ready = [name for name in waiting if all(need in self.outcomes for need in self._needs(name))]
        if not ready:
            return None
        first = max(ready, key=self.urgency.__getitem__)
        return None if self.graph[first].exclusive and self.running else first


class Crew:
    """The stages at work in this process, so that an interrupted walk can end them."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        self.show = show
        self._lock = threading.Lock()
        self._working: dict[str, Running] = {}
        self._closed = False
        self.outcomes: dict[str, Outcome] = {}

    def run(self, name: str) -> Outcome:
        with self._lock:
            if self._closed:
                return Outcome(name, "stopped", code=130)
            running = self._working[name] = Running(name, again=name in self.outcomes)
        outcome = running.wait(lambda line: self.show(name, line))
        with self._lock:
            del self._working[name]
            self.outcomes[name] = outcome
        if outcome.state == "failed":
            self.show(name, f"ended with {outcome.code} after {outcome.seconds:.0f} s")
        return outcome

    def stop(self) -> None:
        with self._lock:
            self._closed = True
            for running in self._working.values():
                running.stop()


def _worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    return isinstance(state.data, Outcome) and state.data.worth_retrying


def _prefect_task(name: str, retries: int, crew: Crew) -> Any:
    @task(
        name=name.partition("@")[0],
        task_run_name=name,
        retries=retries,
        retry_delay_seconds=RETRY_DELAY,
        retry_condition_fn=_worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def stage() -> State[Outcome]:
        outcome = crew.run(name)
        words = f"{outcome.state} in {outcome.seconds:.1f} s"
        return Completed(data=outcome, message=words) if outcome.ok else Failed(data=outcome, message=words)

    return stage


def walk(title: str, plan: Walk, crew: Crew, publish: Callable[[Mapping[str, Outcome]], None]) -> bool:
    """Runs what is stale as one Prefect flow run, and always ends the stages it started.

    publish: gets the outcomes at the end, inside the flow run.
    """

    runner: Any = ThreadPoolTaskRunner(max_workers=16)

    @flow(name="train", flow_run_name=title, task_runner=runner, persist_result=False)
    def train() -> Any:
        try:
            _work_off(plan, crew)
        finally:
            crew.stop()
        publish(plan.outcomes)
        failed = [o.stage for o in plan.outcomes.values() if not o.ok]
        return Failed(message=f"not up to date: {', '.join(failed)}") if failed else Completed()

    state: Any = train(return_state=True)
    return bool(state.is_completed())


def _work_off(plan: Walk, crew: Crew) -> None:
    ended: queue.Queue[tuple[str, PrefectFuture[Any]]] = queue.Queue()
    plan.settle()
    while len(plan.outcomes) < len(plan.names):
        while name := plan.next():
            plan.running.add(name)
            future = _prefect_task(name, plan.graph[name].retries, crew).submit()
            future.add_done_callback(lambda done, name=name: ended.put((name, done)))
        name, future = ended.get()
        plan.running.discard(name)
        plan.outcomes[name] = crew.outcomes.get(name) or _lost(name, future)
        lockfile.keep()
        plan.settle()


def _lost(name: str, future: PrefectFuture[Any]) -> Outcome:
    """Prefect ended the task before the stage began."""
    message = getattr(future.state, "message", None) or "Prefect ended the task without a word"
    return Outcome(name, "failed", code=1, said=(f"{name}: {message}",))
