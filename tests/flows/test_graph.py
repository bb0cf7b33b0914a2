"""The graph as DVC resolves it from a real dvc.yaml, and what is asked of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import graph as graphs
from pipeline.errors import ConfigError

GRAPH = """
vars: [params.yaml]
stages:
  fetch:
    foreach: ${tasks}
    do:
      cmd: mkdir -p data/raw/${key} && cp ${item.path} data/raw/${key}/copy
      deps: ["${item.path}"]
      outs: ["data/raw/${key}"]
      meta: {retries: 3}
  train:
    foreach: ${tasks}
    do:
      cmd: mkdir -p data/models && wc -c < data/raw/${key}/copy > data/models/${key}
      deps: ["data/raw/${key}"]
      outs: ["data/models/${key}"]
      meta: {exclusive: true}
  report:
    cmd: cat data/models/* > report
    deps: [data/models]
    outs: [report]
"""
PARAMS = "tasks:\n  one: {path: one.txt}\n  two: {path: two.txt}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / "params.yaml").write_text(PARAMS)
    for name in ("one", "two"):
        (folder / f"{name}.txt").write_text(name)
    for words in (["init", "-q", "--no-scm"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True)
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


def test_stages_edges_and_meta_come_from_dvc() -> None:
    graph = graphs.read()
    assert graph["fetch@one"] == graphs.Stage("fetch@one", 3, False, frozenset())
    assert graph["train@two"] == graphs.Stage("train@two", 0, True, frozenset({"fetch@two"}))
    assert graph["report"].needs == {"train@one", "train@two"}
    assert (graph["train@two"].step, graph["train@two"].task, graph["report"].task) == ("train", "two", "")
    order = list(graph)
    assert all(order.index(need) < order.index(name) for name, stage in graph.items() for need in stage.needs)


def test_a_task_and_a_last_step_select_stages() -> None:
    graph = graphs.read()
    assert graphs.select(graph, None, None) == list(graph)
    assert graphs.select(graph, "one", None) == ["fetch@one", "train@one", "report"]
    assert graphs.select(graph, None, "fetch") == ["fetch@one", "fetch@two"]
    assert graphs.select(graph, "two", "train") == ["fetch@two", "train@two"]


@pytest.mark.parametrize(
    ("task", "until", "words"),
    [("three", None, "tasks.three: no such task"), (None, "tran", "--until tran: no such stage .did you mean 'train'")],
)
def test_an_unknown_name_is_refused(task: str | None, until: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        graphs.select(graphs.read(), task, until)


def test_what_is_stale_is_what_dvc_says(made: Path) -> None:
    assert graphs.stale(graphs.read()) == set()
    (made / "one.txt").write_text("another one")
    try:
        assert graphs.stale(graphs.read()) == {"fetch@one"}
    finally:
        (made / "one.txt").write_text("one")


def test_a_broken_dvc_yaml_is_one_line(made: Path) -> None:
    (made / "dvc.yaml").write_text("stages: [")
    try:
        with pytest.raises(ConfigError, match=r"^dvc.yaml: [^\n]+$"):
            graphs.read()
    finally:
        (made / "dvc.yaml").write_text(GRAPH)


@pytest.mark.parametrize("torn", ["", "schema: '2.0'\nstages:\n  train@one:\n    deps: [", "- 1\n"])
def test_a_dvc_lock_that_is_just_being_written_counts_as_changed(made: Path, torn: str) -> None:
    assert not graphs.inputs_changed("train@one")
    lock = (made / "dvc.lock").read_text()
    try:
        (made / "dvc.lock").write_text(torn)
        assert graphs.inputs_changed("train@one")
    finally:
        (made / "dvc.lock").write_text(lock)
