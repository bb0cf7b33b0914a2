"""A fold's own network made smaller by every kind of recipe, in the fold's own folder."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import artifacts, folds, graphs, inference, variants
from pipeline.config import Task
from pipeline.folding import compressed, workspace
from pipeline.folding.compressed import Recipe, UnmadeError
from tests.folding import project

TWO = folds.Config(folds=2)
PRUNE = {"levels": [0.5], "epochs": 1, "sparse": 0.5}
SECTIONS = project.TEXT | {
    "model": {"name": "textcnn", "embedding": 32, "channels": 32, "kernels": [2]},
    "train": {"epochs": 3, "batch_size": 16},
    "compress": {"prune": PRUNE, "examples": 16},
}
PLAIN = Recipe("net", "trained", {}, False, False, "trained", "fp32", "", (), "onnxruntime")
CUT = replace(PLAIN, network="cut", cut={"convolutions.0": [16, 32], "embedding": [16, 32]}, reference="control")


@pytest.fixture(scope="module")
def fold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Task, dict[str, Any]]:
    root = tmp_path_factory.mktemp("compressed")
    with pytest.MonkeyPatch.context() as patch:
        project.inside(root, patch)
        task = project.task(SECTIONS)
        project.write(project.texts(96))
        values = project.tuned(task)
        rows = folds.read(task)
        sided = folds.fold(rows, folds.drawn(rows, TWO, "rows"), 0, 1 / 9, TWO, "rows")
        workspace.make(root / "fold", "toy", sided)
    return root / "fold", task, values


@pytest.fixture
def answered(fold: tuple[Path, Task, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a recipe's answers are; the fold's network is trained by the first."""
    folder, task, values = fold
    monkeypatch.chdir(folder)
    return lambda recipe: compressed.answered(task, values, recipe)


def test_the_network_itself_is_its_own_reference(answered: Any) -> None:
    found = answered(PLAIN)
    assert found["truth"].shape == (48,) and found["variant"].shape == (48, 2)
    np.testing.assert_allclose(found["variant"], found["trained"], atol=1e-5)
    assert found["reference"] is found["trained"]


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        (CUT, ["control", "cut_"]),
        (replace(CUT, scheme="static_int8", method="minmax", distilled=True), []),
        (replace(CUT, scheme="static_int8", method="minmax", for_int8=True), ["control", "_for_int8"]),
        (replace(PLAIN, network="control"), ["control"]),
        (replace(PLAIN, network="sparse", reference="control"), ["control", "sparse"]),
        (replace(PLAIN, scheme="static_int8", method="minmax", for_int8=True), ["trained_for_int8"]),
        (replace(PLAIN, candidate="baseline", scheme="dynamic_int8"), []),
    ],
    ids=["cut", "distilled", "cut for int8", "control", "sparse", "for int8", "linear"],
)
def test_every_kind_of_recipe_is_followed(answered: Any, recipe: Recipe, names: list[str]) -> None:
    found = answered(recipe)
    assert found["variant"].shape == found["reference"].shape == found["trained"].shape == (48, 2)
    assert not np.allclose(found["variant"], found["trained"], atol=1e-5)  # a graph in fp32 differs by rounding alone
    assert (recipe.reference == "control") != np.array_equal(found["reference"], found["trained"])
    trained = [path.name for path in Path(".danlu/shrinking").glob("*/*")]
    assert all(any(name in path for path in trained) for name in names)


def test_a_distilled_network_is_not_taken_for_one_that_learnt_from_labels_alone(answered: Any) -> None:
    """Checkpoints are kept between recipes."""
    plain, distilled = answered(CUT), answered(replace(CUT, distilled=True))
    for name in ("reference", "variant"):
        assert not np.allclose(plain[name], distilled[name], atol=1e-5)
    np.testing.assert_array_equal(plain["trained"], distilled["trained"])


def test_the_control_in_fp32_is_the_reference_of_the_others(answered: Any) -> None:
    control = answered(replace(PLAIN, network="control"))
    np.testing.assert_array_equal(control["variant"], answered(CUT)["reference"])


def test_the_variants_own_engine_is_asked(answered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = inference.engine
    monkeypatch.setattr(inference, "engine", lambda name: (asked.append(name), real("onnxruntime"))[1])
    answered(replace(CUT, engine="openvino"))
    assert asked == ["onnxruntime", "openvino"]  # the control's and the variant's


@pytest.mark.parametrize("error", [RuntimeError("no kernel"), type("Fail", (Exception,), {})("no kernel")])
def test_a_graph_that_its_engine_cannot_run_is_named(
    answered: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What ONNX Runtime raises has no base but Exception."""

    def load(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(inference, "engine", lambda name: SimpleNamespace(load=load))
    with pytest.raises(UnmadeError, match="onnxruntime cannot run it: no kernel"):
        answered(replace(PLAIN, candidate="baseline"))


def test_a_fold_of_images_is_answered_by_a_smaller_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.inside(tmp_path, monkeypatch)
    task = project.task(project.IMAGE | {"compress": SECTIONS["compress"]})
    project.write(project.images(48))
    values = project.tuned(task)
    rows = folds.read(task)
    sided = folds.fold(rows, folds.drawn(rows, TWO, "rows"), 0, 1 / 9, TWO, "rows")
    workspace.make(tmp_path / "fold", "toy", sided)
    monkeypatch.chdir(tmp_path / "fold")
    cut = {"blocks.3.body.0": [64, 128]}
    recipe = replace(CUT, cut=cut, scheme="static_int8", method="minmax")
    found = compressed.answered(task, values, recipe)
    assert found["truth"].shape == (24,) and found["variant"].shape == found["reference"].shape == (24, 2)
    assert not np.allclose(found["variant"], found["reference"], atol=1e-5)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """Copies of each graph in fp32 and in the recipe's scheme."""
    found: list[tuple[Path, Path]] = []
    write = variants.write

    def watched(source: Path, target: Path, *more: Any) -> Any:
        made = write(source, target, *more)
        pair = [path.parent.parent / f"{len(found)}-{path.name}" for path in (source, target)]
        found.append((shutil.copy(source, pair[0]), shutil.copy(target, pair[1])))
        return made

    monkeypatch.setattr(variants, "write", watched)
    return found


def test_the_network_is_as_small_as_the_recipe_says_and_its_nodes_stay_fp32(
    answered: Any, written: list[tuple[Path, Path]]
) -> None:
    whole = replace(PLAIN, scheme="static_int8", method="minmax")
    answered(whole)
    answered(replace(CUT, scheme="static_int8", method="minmax"))
    first = variants.module("static_int8").quantisable(written[0][0])[0]
    answered(replace(whole, scheme="static_int8+mixed", fp32=(first,)))
    numbers = [sum(graphs.numbers(fp32).values()) for fp32, _ in written]
    assert numbers[1] < 0.6 * numbers[0] == 0.6 * numbers[2]
    int8 = [graphs.share(graph, ("int8", "uint8")) for _, graph in written]
    assert int8[2] < int8[0] - 0.1


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (replace(PLAIN, scheme="static_int8+mixed", method="minmax", fp32=("no_such",)), "expected nodes of the graph"),
        (replace(PLAIN, candidate="baseline", scheme="embedding_int4"), "nothing in its graph has such a form"),
    ],
)
def test_a_recipe_that_a_fold_cannot_follow_is_named(answered: Any, recipe: Recipe, words: str) -> None:
    with pytest.raises(UnmadeError, match=words):
        answered(recipe)


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A fold's folder with what `leave` reads there."""
    monkeypatch.chdir(tmp_path)
    artifacts.write_json(Path("data/prepared/toy/meta.json"), {"counts": {"test": 48}})
    return tmp_path


def test_what_failed_is_left_in_the_place_of_answers(
    fold: tuple[Path, Task, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, walked: Path
) -> None:
    def fails(*given: Any) -> None:
        raise UnmadeError("no such form")

    monkeypatch.setattr(compressed, "answered", fails)
    compressed.leave(walked / "0", fold[1], fold[2], PLAIN)
    assert artifacts.read_json(walked / "0.json") == {"counts": {"test": 48}, "failed": "no such form"}
    assert not Path("data").exists() and os.listdir(walked) and not np.load(walked / "0.npz").files


def test_a_fold_has_ended_when_its_data_is_gone(
    fold: tuple[Path, Task, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, walked: Path
) -> None:
    """Killed in between, it is made again: else its data would stay."""

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compressed, "answered", lambda *given: {})
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        compressed.leave(walked / "0", fold[1], fold[2], PLAIN)
    assert (walked / "0.npz").is_file() and not (walked / "0.json").exists()


@pytest.mark.parametrize(("whole", "left"), [(1024, 512), (3000, 1536), (500, 256), (200, None)])
def test_of_the_folds_own_vocabulary_the_same_share_is_left(whole: int, left: int | None) -> None:
    at: Any = SimpleNamespace(subject=SimpleNamespace(counts=np.zeros(whole)))
    recipe = replace(PLAIN, cut={"vocabulary": [1024, 2048], "convolutions.0": [16, 32]})
    expected = {"convolutions.0": 16} | ({"vocabulary": left} if left else {})
    assert compressed._left(at, recipe) == expected
