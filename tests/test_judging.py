"""Folds that judge what compression has chosen: real processes, one a fold, and answers that are planted."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pipeline import artifacts, compress, folds, judging, variants
from pipeline.config import Task
from pipeline.errors import ConfigError, DataError, StoppedError
from pipeline.folding import answering, running
from pipeline.folding.compressed import Recipe
from pipeline.gate import Variant
from tests.compressing_talk import STATIC, changed, of_net
from tests.folding import project

ROWS = 80
COMPRESS = {
    "budget": {"judge": "folds", "max_drop": 0.5, "class_drop": 0.5},
    "examples": 16,
    "target": {"rounds": 10},
    "prune": {"levels": []},
    "engines": ["onnxruntime"],
    "min_speedup": 0,
    **STATIC,
}
FOLDED = project.TEXT | {
    "model": {"name": "textcnn", "embedding": 32, "channels": 32},
    "crossvalidate": {"folds": 2, "workers": 1},
    "compress": COMPRESS,
}
ANSWERS = ("reference", "variant")
INT8 = Recipe("net", "trained", {}, False, False, "trained", "static_int8", "minmax", (), "onnxruntime")


def never() -> bool:
    return False


def rows() -> list[dict[str, Any]]:
    """Labels of which every eighth is wrong, so that no answers are all right."""
    found = project.texts(ROWS)
    project.flip(found, range(0, ROWS, 8))
    return found


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after the stage."""
    root = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        project.inside(root, patch)
        task = project.task(FOLDED)
        project.write(rows())
        project.tuned(task)
        project.trained(task)
        compress.main(task)
    return root


@pytest.fixture
def task(judged: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    project.inside(judged, monkeypatch)
    return project.task(FOLDED)


def found_entries() -> dict[str, Any]:
    found: dict[str, Any] = artifacts.read_json(Path("data/compressed/toy/compress.json"))["candidates"]
    return found


def kept(candidate: str) -> list[dict[str, np.ndarray]]:
    """The folds' answers as they lie there."""
    (place,) = Path(".danlu/judging").glob(f"*/{replace(INT8, candidate=candidate).digest}")
    return [dict(np.load(place / f"{number}.npz")) for number in range(2)]


@pytest.mark.parametrize("candidate", ["net", "baseline"])
def test_the_drop_is_that_of_the_folds_answers(task: Task, candidate: str) -> None:
    answers = {name: np.concatenate([one[name] for one in kept(candidate)]) for name in ("truth", *ANSWERS)}
    f1 = {name: f1_score(answers["truth"], answers[name].argmax(axis=1), average="macro") for name in ANSWERS}
    entry = found_entries()[candidate]
    assert entry["chosen"] == "static_int8" and entry["judged"] == {"by": "folds", "examples": ROWS, "classes": []}
    found = entry["variants"]["static_int8"]["out_of_fold"]
    assert found["drop"]["value"] == pytest.approx(f1["reference"] - f1["variant"]) and found["drop"] == entry["drop"]
    assert found["examples"] == ROWS and f"on {ROWS} rows out of fold than the trained network" in entry["reason"]
    assert entry["variants"]["static_int8"]["drop"] and entry["variants"]["fp32"]["out_of_fold"] is None
    assert entry["max_drop"] == found["limits"]["max_drop"] == 0.5
    points = compress.points(found_entries(), "macro_f1")
    assert points[f"{candidate}/static_int8/drop_out_of_fold"] == entry["drop"]["value"]


def test_the_folds_are_those_of_cross_validation(task: Task) -> None:
    """Bit for bit: the same rows are held out, and the same models are trained."""
    expected = answering.collected(task, task.section("crossvalidate", folds.Config))
    for candidate in ("net", "baseline"):
        for one, fold in zip(kept(candidate), expected, strict=True):
            assert np.array_equal(one["truth"], fold.truth["test"])
            assert np.array_equal(one["trained"], fold.answers[candidate]["test"])


def test_the_stage_leaves_answers_and_logs_alone_and_fits_no_fold_twice(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found_entries()
    (place,) = Path(".danlu/judging").iterdir()
    assert {path.suffix for path in place.rglob("*") if path.is_file()} == {".json", ".npz", ".log"}
    assert len(list(place.iterdir())) == 2  # recipes
    monkeypatch.setattr(running, "_start", lambda *given: pytest.fail("a fold was fitted again"))
    compress.main(task)
    assert [entry["drop"] for entry in found_entries().values()] == [entry["drop"] for entry in before.values()]


@pytest.mark.slow
def test_a_stopped_stage_goes_on_after_the_folds_that_have_ended_and_another_recipe_trains_no_network(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other answers, since the recipe is in another method; they lie beside those of the fixture."""
    recipe = replace(INT8, method="percentile")
    (root,) = Path(".danlu/judging").iterdir()
    started: list[int] = []
    start = running._start

    def watched(number: int, stem: Path, module: str) -> Any:
        started.append(number)
        return start(number, stem, module)

    monkeypatch.setattr(running, "_start", watched)
    with pytest.raises(StoppedError, match="finished folds are kept; run again to go on"):
        judging.collected(task, recipe, (root / recipe.digest / "0.json").is_file)
    assert started == [0]
    found = judging.collected(task, recipe, never)
    assert started == [0, 1] and all(not isinstance(one, str) and len(one["truth"]) == ROWS // 2 for one in found)
    trained = {path: path.stat().st_mtime_ns for path in root.glob("fold-*/.danlu/checkpoints/*/last.pt")}
    assert len(trained) == 2 and not list(root.glob("fold-*/data"))
    other = judging.collected(task, replace(recipe, method="entropy"), never)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert np.array_equal(other[0]["trained"], found[0]["trained"])  # type: ignore[index]
    judging.forget(task)
    assert not list(root.glob("fold-*")) and len(list(root.iterdir())) == 4


def test_what_decides_the_answers_is_in_the_fingerprint(task: Task) -> None:
    wanted = task.section("crossvalidate", folds.Config)
    values = answering.settled(task, wanted)[0]

    def of(wanted: folds.Config = wanted, **settings: Any) -> str:
        return judging.fingerprint(project.task(FOLDED, compress=COMPRESS | settings), wanted, values)

    assert of() == of(budget={}) == of(prune={"levels": [0.5]}) == of(schemes=["fp16"])
    assert len({of(), of(replace(wanted, seed=1)), of(examples=17), of(prune={"epochs": 3})}) == 4


def test_a_stage_that_was_asked_to_stop_begins_no_fold(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_start", lambda *given: pytest.fail("a fold was started"))
    with pytest.raises(StoppedError, match="stopped before the folds judge"):
        judging.collected(task, replace(INT8, method="percentile", fp32=("new",)), lambda: True)


def planted(monkeypatch: pytest.MonkeyPatch, *, wrong: int, count: int = 1600) -> list[Recipe]:
    """Folds in which static int8 answers so many of each class wrongly that the trained network answers rightly.

    Returns the recipes that were asked for.
    """
    asked: list[Recipe] = []
    truth = np.arange(count) % 2
    right = np.eye(2)[truth]

    def collected(task: Task, recipe: Recipe, stop: Any) -> list[dict[str, np.ndarray] | str]:
        asked.append(recipe)
        variant = right.copy()
        if recipe.scheme == "static_int8":
            variant[: 2 * wrong] = 1 - variant[: 2 * wrong]
        whole = {"truth": truth, "trained": right, "reference": right, "variant": variant}
        return [{name: array[half::2] for name, array in whole.items()} for half in (0, 1)]

    monkeypatch.setattr(judging, "collected", collected)
    return asked


BY_FOLDS = {"schemes": ["fp16", "static_int8"], "calibration": "minmax", "min_speedup": 0}


def test_what_loses_too_much_out_of_fold_alone_is_rejected_and_the_next_smallest_taken(
    trained_talk: Path, talk: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = planted(monkeypatch, wrong=20)
    task = changed(talk, **BY_FOLDS, budget={"judge": "folds"})
    entry = of_net(trained_talk, task, monkeypatch, tmp_path)
    assert [recipe.scheme for recipe in asked] == ["static_int8", "fp16"]
    assert asked[0] == INT8 and asked[1] == replace(INT8, scheme="fp16", method="")
    int8 = entry["variants"]["static_int8"]
    assert int8["rejected"] == ["macro_f1 0.0250 lower on 1,600 rows out of fold; at most 0.01 may be"]
    assert abs(int8["drop"]["value"]) <= entry["budget"]["max_drop"] == 0.02 and entry["max_drop"] == 0.01
    assert entry["chosen"] == "fp16" and entry["judged"] == {
        "by": "folds",
        "examples": 1600,
        "classes": ["bad", "good"],
    }
    assert entry["drop"]["value"] == 0 and entry["needed_examples"] == 0


def test_a_class_that_collapses_out_of_fold_alone_is_named(
    trained_talk: Path, talk: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted(monkeypatch, wrong=80)
    task = changed(talk, **STATIC, min_speedup=0, budget={"judge": "folds", "max_drop": 0.5, "class_drop": 0.06})
    entry = of_net(trained_talk, task, monkeypatch, tmp_path)
    assert entry["chosen"] == "fp32" and entry["judged"]["by"] == "validation"
    assert entry["variants"]["static_int8"]["rejected"] == [
        f"recall of {name} 0.100 lower on 1,600 rows out of fold; at most 0.06 may be" for name in ("bad", "good")
    ]
    assert "against static_int8, recall of bad 0.100 lower on 1,600 rows out of fold" in entry["reason"]


def test_few_rows_have_the_looser_default_and_answers_may_not_differ_there_either(
    trained_talk: Path, talk: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted(monkeypatch, wrong=10, count=1400)
    settings = {**STATIC, "min_speedup": 0}
    entry = of_net(trained_talk, changed(talk, **settings, budget={"judge": "folds"}), monkeypatch, tmp_path)
    assert entry["chosen"] == "static_int8" and entry["max_drop"] == 0.02
    assert entry["drop"]["value"] == pytest.approx(20 / 1400) and entry["needed_examples"] > 0
    strict = changed(talk, **settings, budget={"judge": "folds", "disagreement": 0.01})
    found = of_net(None, strict, monkeypatch, tmp_path)["variants"]["static_int8"]
    assert "1.4% of its answers differ on 1,400 rows out of fold; at most 1.0% may" in found["rejected"]


def test_what_a_fold_cannot_make_is_not_served(
    trained_talk: Path, talk: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers: Any = {name: np.eye(2) for name in ("trained", "reference", "variant")} | {"truth": np.arange(2)}
    monkeypatch.setattr(judging, "collected", lambda *given: [answers, "it cannot be made: planted"])
    task = changed(talk, **STATIC, min_speedup=0, budget={"judge": "folds"})
    entry = of_net(trained_talk, task, monkeypatch, tmp_path)
    assert entry["variants"]["static_int8"]["rejected"] == ["in fold 2 of 2 it cannot be made: planted"]
    assert entry["chosen"] == "fp32"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pruned_1-fp32", {"network": "cut", "cut": {"a": [8, 32]}, "method": "", "reference": "control"}),
        ("pruned_1_for_int8-static_int8", {"network": "cut", "cut": {"a": [8, 32]}, "for_int8": True}),
        ("trained_for_int8-static_int8@openvino", {"network": "trained", "for_int8": True, "engine": "openvino"}),
        ("sparse-static_int8", {"network": "sparse", "reference": "control"}),
        ("sparse_for_int8-static_int8", {"network": "trained", "for_int8": True}),
        ("control-static_int8", {"network": "control", "reference": "trained"}),
        (
            "static_int8+mixed",  # nothing is trained, so it is the same however networks are tuned
            {"network": "trained", "fp32": ("head",), "scheme": "static_int8+mixed", "distilled": False},
        ),
    ],
)
def test_a_recipe_says_how_a_variant_was_made(name: str, expected: dict[str, Any]) -> None:
    """By the variant, its graph, and the rows of compress.json that tell of smaller networks."""
    plain, _, engine = name.partition("@")
    network, _, scheme = plain.rpartition("-")
    reference = "trained" if network in ("", "control") else "control"
    one = Variant(network or "trained", scheme, engine or "onnxruntime", 1, 1, {}, 1.0, reference)
    fp32 = ("head",) if scheme.endswith("mixed") else ()
    written = {} if scheme == "fp32" else {plain: variants.Graph(Path(), scheme, "minmax", fp32)}
    work: Any = SimpleNamespace(source=SimpleNamespace(name="net"), variants={name: one}, written=written)
    levels = [{"name": f"pruned_1{end}", "cut": {"a": [8, 32]}} for end in ("", "_for_int8")]
    levels += [{"name": f"sparse{end}", "cut": {}} for end in ("", "_for_int8")]
    found = asdict(judging.recipe(work, name, levels, distilled=True))
    usual = {"candidate": "net", "cut": {}, "for_int8": False, "distilled": True, "method": "minmax", "fp32": ()}
    assert found == {**usual, "reference": reference, "scheme": scheme, "engine": "onnxruntime", **expected}


@pytest.mark.slow
def test_a_pruned_networks_recipe_has_what_is_left_of_each_part(
    trained_talk: Path, talk: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = planted(monkeypatch, wrong=0)
    prune = {"levels": [0.5], "epochs": 1, "distil": "off"}
    budget = {"judge": "folds", "max_drop": 0.5, "class_drop": 0.5}
    task = changed(talk, **STATIC, min_speedup=0, prune=prune, budget=budget)
    entry = of_net(trained_talk, task, monkeypatch, tmp_path)
    (recipe,) = asked
    (level,) = [row for row in entry["levels"] if row["name"] == entry["network"]]
    assert recipe.network == "cut" and recipe.cut == level["cut"] and not recipe.distilled
    assert recipe.reference == entry["variants"][entry["chosen"]]["reference"]


def test_rows_that_make_no_folds_are_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.inside(tmp_path, monkeypatch)
    task = project.task(FOLDED, crossvalidate={"folds": 9})
    project.write(project.texts(16))
    project.tuned(task)
    with pytest.raises(DataError, match=r"data/validated/toy: found 8 examples or groups of \w+.*expected 9 or more"):
        compress.main(task)
    assert not Path("data/compressed").exists()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({}, "compress.budget.judge: found folds with crossvalidate.folds 0; expected folds, on which all rows judge"),
        (
            {"crossvalidate": {"folds": 2}, "train": {"init": {"model": "models:/x@champion"}}},
            "train.init.model: found models:/x@champion with crossvalidate.folds 2",
        ),
    ],
)
def test_without_folds_that_could_judge_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], words: str
) -> None:
    project.inside(tmp_path, monkeypatch)
    task = project.task(project.TEXT | {"compress": COMPRESS}, **sections)
    values = {"model": task.raw["model"], "train": task.raw["train"]}
    artifacts.write_json(Path("data/tuned/toy/values.json"), values)
    with pytest.raises(ConfigError, match=words):
        compress.main(task)
    assert not Path("data/compressed").exists()
