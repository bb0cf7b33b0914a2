"""Brings every task, or one, up to date: `python -m flows.train [TASK] [--until STAGE]`.

Checks params.yaml, asks DVC what has changed, and walks that as a Prefect flow; when nothing has changed,
Prefect is not even started. Exit codes: 0, 2 for an error with a message, 3 for a diverged training,
1 for a crash, 130 when interrupted.
"""

import argparse
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType

from flows import graph as graphs
from flows import lockfile, locks, settings, table
from flows.graph import Graph
from flows.stages import Outcome
from flows.summary import summary
from pipeline import config
from pipeline.artifacts import STATE
from pipeline.check import require_source
from pipeline.errors import ConfigError, PipelineError

JOBS = 2  # stages at the same time


def check() -> int:
    """The exit code of `python -m pipeline.check --settings`, in a process of its own: it imports every model file."""
    done = subprocess.run([sys.executable, "-m", "pipeline.check", "--settings"], stdout=subprocess.PIPE)
    return done.returncode


def barred(graph: Graph, names: Iterable[str]) -> dict[str, Outcome]:
    """The stages of which DVC cannot hash the source, which are to count as failed without a start."""
    found = {}
    for name in names:
        if graph[name].step == "fetch" and (fault := _source_fault(graph[name].task)):
            found[name] = Outcome(name, "failed", code=ConfigError.exit_code, said=(fault,))
    return found


def behind(task: str, until: str) -> str:
    """Why what a task has as far as a stage is not what a run would make of it now; nothing where it is."""
    try:
        graph = graphs.read()
        names = graphs.select(graph, task, until)
        lost = barred(graph, names)
        stale = graphs.stale(name for name in names if name not in lost)
    except ConfigError as error:  # such as while a run is at work
        return f"not known whether it is up to date ({error})"
    changed = [graph[name].step for name in names if name in stale or name in lost]
    if not changed:
        return ""
    return (
        f"older than params.yaml, the source or the code (stages to run: {', '.join(changed)}); "
        f"`danlu run {task} --until {until}` brings it up to date"
    )


def _source_fault(task: str) -> str:
    try:
        require_source(config.task(task))
    except ConfigError as error:
        return str(error)
    return ""


def run(task: str | None = None, until: str | None = None, jobs: int = JOBS) -> int:
    """Checks, walks, reconciles the registry, prints the table; returns the exit code.

    Raises: PipelineError for what the user has to mend before anything starts.
    """
    if code := check():
        return code
    title = " ".join(["danlu run", *([task] if task else []), *(["--until", until] if until else [])])
    with locks.run(title) as mark:
        lockfile.heal()
        lockfile.keep()
        graph = graphs.read()
        names = graphs.select(graph, task, until)
        lost = barred(graph, names)
        if lost and task:
            raise ConfigError("\n".join(line for outcome in lost.values() for line in outcome.said))
        stale = graphs.stale(name for name in names if name not in lost)
        if stale or lost:
            outcomes = walked(title, mark, graph, names, stale, lost, jobs)
        else:
            outcomes = {name: Outcome(name, "unchanged") for name in names}
        code = next((o.code for o in outcomes.values() if o.state in ("failed", "stopped")), 0)
        code = code or reconcile(graph, outcomes)
    print(ending(graph, outcomes))
    return code


def walked(
    title: str, mark: str, graph: Graph, names: Sequence[str], stale: set[str], lost: Mapping[str, Outcome], jobs: int
) -> dict[str, Outcome]:
    """Walks under one parent run, which MLflow shows above the stages' runs; `lost` have failed before the start."""
    from pipeline.tracking import runs

    for name, outcome in lost.items():
        _record(name, outcome.said)
    print(f"{len(stale)} of {len(names)} stages have changed; starting Prefect", file=sys.stderr)
    from flows.walk import Crew, Walk, walk

    require_server()
    parent = runs.open_parent(title)
    os.environ |= {"DANLU_PARENT_RUN": parent, "DANLU_INVOCATION": mark}
    plan = Walk(graph, names, stale, jobs)
    plan.outcomes |= lost
    ended = "KILLED"
    try:
        done = walk(title, plan, Crew(_show), lambda outcomes: publish(graph, outcomes))
        ended = "FINISHED" if done else "FAILED"
    finally:
        ran = [outcome for outcome in plan.outcomes.values() if outcome.state == "ran"]
        runs.close_parent(parent, ended, metrics={f"seconds.{o.stage.replace('@', '.')}": o.seconds for o in ran})
    return {name: plan.outcomes.get(name) or Outcome(name, "stopped", code=1) for name in names}


def require_server(patience: float = 10.0) -> None:
    """Raises: PipelineError when PREFECT_API_URL names a server that does not answer; without it Prefect starts one."""
    address = os.environ.get("PREFECT_API_URL", "")
    if not address.startswith("http"):
        return
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=patience):
            return
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"PREFECT_API_URL: found {address}, which does not answer ({error}); expected a Prefect server; start it "
            "with `make ui`, or unset the variable and the run starts one of its own"
        ) from None


def _record(stage: str, said: Sequence[str]) -> None:
    """Shows what keeps a stage from starting, and leaves it where its log would be."""
    log = STATE / "logs" / f"{stage}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("\n".join(said) + "\n", "utf-8")
    for line in said:
        _show(stage, line)


def _show(stage: str, line: str) -> None:
    print(f"{stage} │ {line}", file=sys.stderr, flush=True)


def publish(graph: Graph, outcomes: Mapping[str, Outcome]) -> None:
    """The table as artefacts of the Prefect flow run."""
    from prefect.artifacts import create_markdown_artifact

    figures = _figures(graph, outcomes)
    parts = ["## Stages", table.markdown(table.stage_rows(outcomes))]
    if _evaluated(figures):
        parts += ["## Models (test split)", table.markdown(table.figure_rows(figures))]
    parts += ["## Failures", f"```\n{said}\n```"] if (said := table.failures(outcomes.values())) else []
    parts += ["## Next", "```\n" + "\n".join(lines) + "\n```"] if (lines := _next(graph, figures, outcomes)) else []
    create_markdown_artifact("\n\n".join(parts), key="danlu-run", description="What ran, and the figures")


def reconcile(graph: Graph, outcomes: Mapping[str, Outcome]) -> int:
    """Fills a registry that lacks what the receipts name, such as a fresh clone's after `dvc pull`."""
    code = 0
    for name, outcome in outcomes.items():
        if graph[name].step == "register" and outcome.state in ("unchanged", "restored"):
            command = [sys.executable, "-m", "pipeline.register", graph[name].task, "--reconcile"]
            code = code or subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    return code


def _figures(graph: Graph, outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, object]]:
    """By task; none where params.yaml has been broken since the run began: what ran is to be told all the same."""
    tasks = {graph[name].task for name in outcomes}
    try:
        return {name: task for name, task in summary()["tasks"].items() if name in tasks}
    except ConfigError:
        return {}


def _evaluated(figures: Mapping[str, Mapping[str, object]]) -> bool:
    return any(task["candidates"] for task in figures.values())


def _next(graph: Graph, figures: Mapping[str, Mapping[str, object]], outcomes: Mapping[str, Outcome]) -> list[str]:
    """What to do next; a run that failed, or that ended before its tasks' last stage, is not to be recorded."""
    whole = all(outcome.ok for outcome in outcomes.values()) and _to_the_end(graph, outcomes)
    return table.where([name for name, task in figures.items() if task["registered"]], _unrecorded() if whole else [])


def _to_the_end(graph: Graph, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether the run was of every stage of its tasks."""
    tasks = {graph[name].task for name in outcomes} - {""}
    return all(name in outcomes for name, stage in graph.items() if stage.task in tasks)


def ending(graph: Graph, outcomes: Mapping[str, Outcome]) -> str:
    """What the user reads last."""
    figures = _figures(graph, outcomes)
    parts = [table.text(table.stage_rows(outcomes))]
    if _evaluated(figures):
        parts.append(table.text(table.figure_rows(figures)))
    if said := table.failures(outcomes.values()):
        parts.append(said)
    if lines := _next(graph, figures, outcomes):
        parts.append("\n".join(lines))
    return "\n\n".join(["", *parts])


def _unrecorded() -> list[str]:
    """The paths that git does not hold as they are; all that are there where there is no git to ask."""

    def changed(path: str) -> bool:
        done = subprocess.run(["git", "status", "--porcelain", "--", path], capture_output=True, text=True)
        return done.returncode != 0 or bool(done.stdout.strip())

    return [path for path in table.RECORDED if os.path.exists(path) and changed(path)]


def guarded(act: Callable[[], int]) -> int:
    """Applies the settings and runs a command; an error or an interruption is one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings.apply()
        return act()
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", metavar="TASK", help="a task of params.yaml; all of them when left out")
    parser.add_argument("--until", metavar="STAGE", help="the last stage to run, such as prepare")
    parser.add_argument("--jobs", type=_jobs, default=JOBS, metavar="N", help=f"stages at the same time ({JOBS})")


def _jobs(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"found {word!r}; expected a whole number ≥ 1")
    return int(word)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m flows.train", description="Brings every task, or one, up to date.")
    add_arguments(parser)
    asked = parser.parse_args(words)
    return guarded(lambda: run(asked.task, asked.until, asked.jobs))


if __name__ == "__main__":
    sys.exit(main())
