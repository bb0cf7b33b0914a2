"""The stages and their edges, read from DVC: nothing here states an edge of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flows import lockfile
from pipeline.artifacts import STATE, read_json
from pipeline.errors import ConfigError
from pipeline.wording import nearest


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, resolved for one task.

    name: DVC's own, such as train@solar; report is over all tasks.
    retries: how often it starts again after a crash.
    exclusive: runs with no other stage beside it, since it measures time or takes every core.
    needs: names of the stages whose outputs it reads.
    """

    name: str
    retries: int
    exclusive: bool
    needs: frozenset[str]

    @property
    def step(self) -> str:
        return self.name.partition("@")[0]

    @property
    def task(self) -> str:
        """The task's name; empty for a stage over all tasks."""
        return self.name.partition("@")[2]


Graph = Mapping[str, Stage]


def read() -> Graph:
    """The graph of dvc.yaml, stages before those that need them. Raises: ConfigError when DVC cannot read it."""
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            found = repo.index.graph
            order = list(networkx.dfs_postorder_nodes(found))
            return {stage.addressing: _stage(stage, found) for stage in order}
    except DvcException as error:
        raise ConfigError(f"dvc.yaml: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]


def _stage(stage: Any, graph: Any) -> Stage:
    meta = stage.meta or {}
    needs = frozenset(needed.addressing for needed in graph.successors(stage))
    return Stage(stage.addressing, int(meta.get("retries", 0)), bool(meta.get("exclusive", False)), needs)


def upstream(graph: Graph, names: Iterable[str]) -> set[str]:
    """The named stages and all that they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name].needs
    return found


def select(graph: Graph, task: str | None, until: str | None) -> list[str]:
    """The stages that bring a task (or all) as far as a step (or to the end), in the graph's order.

    A stage over all tasks belongs to every task's end, without the other tasks' stages that it needs too.
    Raises: ConfigError for a task or step that dvc.yaml does not have.
    """
    tasks = dict.fromkeys(stage.task for stage in graph.values() if stage.task)
    steps = dict.fromkeys(stage.step for stage in graph.values())
    if task is not None and task not in tasks:
        known = ", ".join(tasks)
        raise ConfigError(f"params.yaml: tasks.{task}: no such task{nearest(task, tasks)}; there are: {known}")
    if until is not None and until not in steps:
        raise ConfigError(f"--until {until}: no such stage{nearest(until, steps)}; there are: {', '.join(steps)}")
    asked = {name for name, stage in graph.items() if task is None or stage.task in (task, "")}
    last = [name for name in graph if name in asked and until in (None, graph[name].step)]
    chosen = upstream(graph, last) & asked
    return [name for name in graph if name in chosen]


def stale(names: Iterable[str]) -> set[str]:
    """Those of the named stages that DVC says have changed. To be asked while no stage runs: DVC refuses otherwise.

    Raises: ConfigError when DVC refuses.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    asked = list(names)
    try:
        with Repo() as repo:
            return set(repo.status(targets=asked)) & set(asked) if asked else set()
    except DvcException as error:
        raise ConfigError(f"dvc status: {_line(error)}; see `dvc status`") from None


def inputs_changed(stage: str) -> bool:
    """Whether dvc.lock's record of a stage's inputs differs from what the stages before it have since recorded.

    Costs milliseconds and works while other stages run. A folder that holds several stages' outputs counts as changed,
    and so does everything while DVC writes the record: DVC itself then decides.
    """
    recorded = lockfile.read()
    if stage not in recorded:
        return True
    made = {out["path"]: out.get("md5") for entry in recorded.values() for out in entry.get("outs", [])}
    for dep in recorded[stage].get("deps", []):
        path = dep["path"]
        if path in made and made[path] != dep.get("md5"):
            return True
        if path not in made and any(out.startswith(f"{path}/") for out in made):
            return True
    return False


def seconds(stage: Stage) -> float:
    """How long the stage took last time, in seconds; 1 when it never ran."""
    path = STATE / "seconds" / stage.task / f"{stage.step}.json"
    try:
        return float(read_json(path))
    except (OSError, ValueError, TypeError):
        return 1.0


def urgency(graph: Graph, names: Iterable[str]) -> dict[str, float]:
    """Seconds from each stage's start to the end of the longest chain that waits for it."""
    within = list(names)
    found: dict[str, float] = {}
    for name in reversed(within):  # those that need it come after it
        after = [found[other] for other in within if name in graph[other].needs and other in found]
        found[name] = seconds(graph[name]) + max(after, default=0.0)
    return found
