"""What a walk starts, and when: checked on small graphs, without Prefect and without DVC."""

from pathlib import Path

import pytest

from flows import graph as graphs
from flows.graph import Stage
from flows.stages import Outcome
from flows.walk import Walk


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def chain(task: str) -> dict[str, Stage]:
    """prepare → train → compress (exclusive) → register, and baseline beside train."""
    needs = {"prepare": [], "baseline": ["prepare"], "train": ["prepare"], "compress": ["train"]}
    needs["register"] = ["compress", "baseline"]
    return {
        f"{step}@{task}": Stage(f"{step}@{task}", 0, step == "compress", frozenset(f"{n}@{task}" for n in before))
        for step, before in needs.items()
    }


def walk(*tasks: str, stale: set[str] | None = None, limit: int = 2) -> Walk:
    graph: dict[str, Stage] = {}
    for task in tasks:
        graph |= chain(task)
    found = Walk(graph, list(graph), set(graph) if stale is None else stale, limit)
    found.settle()
    return found


def start(plan: Walk) -> list[str]:
    started = []
    while name := plan.next():
        plan.running.add(name)
        started.append(name)
    return started


def end(plan: Walk, name: str, state: str = "ran", code: int = 0) -> None:
    plan.running.discard(name)
    plan.outcomes[name] = Outcome(name, state, code=code)  # type: ignore[arg-type]
    plan.settle()


def test_stages_start_when_what_they_need_has_ended() -> None:
    plan = walk("a")
    assert start(plan) == ["prepare@a"]
    end(plan, "prepare@a")
    assert set(start(plan)) == {"train@a", "baseline@a"}


def test_no_more_than_the_limit_run_at_once() -> None:
    plan = walk("a", "b", "c")
    assert len(start(plan)) == 2


def test_an_exclusive_stage_waits_until_it_is_alone_and_then_nothing_joins_it() -> None:
    plan = walk("a", "b")
    for name in ("prepare@a", "baseline@a", "train@a", "prepare@b"):
        plan.outcomes[name] = Outcome(name, "ran")
    plan.running.add("train@b")
    assert start(plan) == []  # compress@a has the longest chain behind it, and waits for train@b
    end(plan, "train@b")
    assert len(start(plan)) == 1
    assert plan.graph[next(iter(plan.running))].exclusive


def test_after_a_failure_what_needs_it_is_skipped_and_the_other_task_goes_on() -> None:
    plan = walk("a", "b")
    start(plan)
    end(plan, "prepare@a", "failed", code=2)
    assert {name for name, o in plan.outcomes.items() if o.state == "skipped"} == set(chain("a")) - {"prepare@a"}
    end(plan, "prepare@b")
    assert "train@b" in start(plan)


def test_the_longest_chain_goes_first(tmp_path: Path) -> None:
    (tmp_path / ".danlu/seconds/a").mkdir(parents=True)
    (tmp_path / ".danlu/seconds/a/train.json").write_text("100")
    plan = walk("b", "a", limit=1)
    assert start(plan) == ["prepare@a"]


def test_what_has_not_changed_is_not_started() -> None:
    plan = walk("a", "b", stale={"register@a"})
    assert {name for name, o in plan.outcomes.items() if o.state == "unchanged"} == (
        set(chain("a")) | set(chain("b"))
    ) - {"register@a"}
    assert start(plan) == ["register@a"]


LOCK = """schema: '2.0'
stages:
  prepare@a:
    cmd: p
    outs: [{path: data/prepared/a, md5: MADE}]
  train@a:
    cmd: t
    deps: [{path: data/prepared/a, md5: one}]
    outs: [{path: data/models/a, md5: three}]
  baseline@a:
    cmd: b
    deps: [{path: data/prepared/a, md5: one}]
  compress@a:
    cmd: c
    deps: [{path: data/models/a, md5: three}]
  register@a: {cmd: r}
  report:
    cmd: r
    deps: [{path: data/models, md5: four}]
"""


@pytest.mark.parametrize(("made", "runs"), [("one", False), ("two", True)])
def test_an_equal_output_ends_the_matter_and_another_one_runs_on(tmp_path: Path, made: str, runs: bool) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK.replace("MADE", made))
    plan = walk("a", stale={"prepare@a"})
    assert start(plan) == ["prepare@a"]
    end(plan, "prepare@a")
    assert (plan.next() in ("train@a", "baseline@a")) is runs
    assert ("train@a" in plan.outcomes) is not runs


def test_a_folder_over_several_outputs_counts_as_changed(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert graphs.inputs_changed("report")
    assert not graphs.inputs_changed("compress@a")
    assert graphs.inputs_changed("never recorded")
