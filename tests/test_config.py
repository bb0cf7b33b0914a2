from dataclasses import dataclass
from typing import Literal

import pytest

from pipeline import config
from pipeline.config import parse, setting
from pipeline.errors import ConfigError
from pipeline.fit.settings import Config as Training


@dataclass(frozen=True)
class Budget:
    max_drop: float | None = setting(None, low=0, high=1, unit="share")


@dataclass(frozen=True)
class Section:
    epochs: int = setting(8, low=1, high=1000, unit="passes")
    rate: float = setting(1e-3, above=0, below=1)
    fit: Literal["crop", "pad"] = setting("crop")
    shuffle: bool = setting(True)
    channels: tuple[int, ...] = setting((32,), low=1)
    groups: dict[str, tuple[str, ...]] = setting({})
    budget: Budget = setting(Budget())


def test_defaults_and_values():
    assert parse(Section, {}, "s") == Section()
    got = parse(
        Section,
        {"epochs": 3, "rate": 0.5, "channels": [1, 2], "groups": {"a": ["b"]}, "budget": {"max_drop": 0.1}},
        "s",
    )
    assert (got.epochs, got.rate, got.channels, got.groups, got.budget.max_drop) == (3, 0.5, (1, 2), {"a": ("b",)}, 0.1)
    assert parse(Section, {"rate": 0.25, "budget": {"max_drop": None}}, "s").budget.max_drop is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"epoch": 3}, ["s.epoch", "unknown key", "'epochs'"]),
        ({"epochs": 0}, ["s.epochs", "0", "≥ 1", "passes"]),
        ({"epochs": 2.5}, ["s.epochs", "2.5", "whole number"]),
        ({"epochs": True}, ["s.epochs", "True"]),
        ({"epochs": "8"}, ["s.epochs", "'8'"]),
        ({"rate": "1e-3"}, ["s.rate", "'1e-3'", "a number"]),
        ({"rate": float("nan")}, ["s.rate", "nan"]),
        ({"rate": float("inf")}, ["s.rate", "inf"]),
        ({"rate": 0}, ["s.rate", "> 0"]),
        ({"rate": 1}, ["s.rate", "< 1"]),
        ({"fit": "corp"}, ["s.fit", "crop, pad", "did you mean 'crop'"]),
        ({"fit": 1}, ["s.fit", "found 1"]),
        ({"shuffle": 1}, ["s.shuffle", "true or false"]),
        ({"channels": 32}, ["s.channels", "a list"]),
        ({"channels": [32, 0]}, ["s.channels[1]", "≥ 1"]),
        ({"groups": []}, ["s.groups", "a mapping"]),
        ({"groups": {"a": ["b", ""]}}, ["s.groups.a[1]"]),
        ({"budget": {"max_drop": 2}}, ["s.budget.max_drop", "found 2"]),
        ({"budget": {"maxdrop": 2}}, ["s.budget.maxdrop", "'max_drop'"]),
        ([], ["s:", "a mapping of settings"]),
    ],
)
def test_every_impossible_value_names_key_value_and_what_is_allowed(section, words):
    with pytest.raises(ConfigError) as raised:
        parse(Section, section, "s")
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_setting_without_default_is_named():
    @dataclass(frozen=True)
    class Needs:
        path: str = setting()

    with pytest.raises(ConfigError, match=r"s\.path: missing; expected a text"):
        parse(Needs, {}, "s")


TASK = "tasks:\n  a:\n    kind: text\n" + "".join(f"    {name}: {{}}\n" for name in config.SECTIONS if name != "kind")


def test_a_whole_file_loads(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(TASK)
    assert list(config.load(path)) == ["a"]
    assert config.task("a", path).kind == "text"
    with pytest.raises(ConfigError, match="no such task"):
        config.task("b", path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no `tasks:`"),
        ("tasks:\n", "at least one task"),
        ("tasks: [a]\n", "at least one task"),
        ("tasks: {a: 3}\n", "expected the sections"),
        ("task:\n  a: {}\n", "no `tasks:`"),
        (TASK + "taks: 1\n", "did you mean 'tasks'"),
        (TASK.replace("  a:", "  A b:"), "expected a lower-case letter"),
        (TASK.replace("kind: text", "kind: audio"), "expected image or text"),
        (TASK.replace("train:", "trian:"), "did you mean 'train'"),
        (TASK + TASK, "not valid YAML"),
        (TASK.replace("text", "!!python/name:os.system"), "not valid YAML"),
        (TASK.replace("{}", "[", 1), "not valid YAML"),
        ("a: &a [x]\n" + "b: [" + "*a, " * 200 + "]\n", "aliases"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, text, word):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        config.load(path)
    assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_missing_sections_are_told_at_once_and_can_be_pasted(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "tasks:\n  a:\n    kind: text\n    source: {name: text_table, path: x.csv}\n"
        "  b: {kind: image, source: {name: image_folder, path: x}, model: {name: resnet}}\n"
    )
    with pytest.raises(ConfigError) as raised:
        config.load(path)
    first, *lines = str(raised.value).partition("\nparams.yaml: tasks.b: found no validate, prepare")[0].split("\n")
    assert first.startswith("params.yaml: tasks.a: found no validate, prepare, features, baseline, tune, model, train,")
    assert "    model: {name: textcnn}" in lines and "tasks.b: found no validate" in str(raised.value)
    start = "tasks:\n  a:\n    kind: text\n    source: {name: text_table, path: x.csv}\n"
    path.write_text(start + "\n".join(lines) + "\n")
    assert set(config.load(path)["a"]) == set(config.SECTIONS)
    assert config.task("a", path).named("model", "models")[0].KIND == "text"


def test_a_plug_in_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ConfigError, match=r"m\.name: found 'textcn'; expected one of .*did you mean 'textcnn'"):
        config.named("models", {"name": "textcn"}, "m")
    with pytest.raises(ConfigError, match=r"m\.name: missing"):
        config.named("models", {}, "m")
    with pytest.raises(ConfigError, match=r"m\.name: missing; .* such as `name: textcnn`"):
        config.named("models", {}, "m", "text")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"loss": "focal"}, "train.loss: found 'focal'; expected a mapping; write {name: focal}"),
        ({"optimizer": "adam"}, "train.optimizer: found 'adam'; expected a mapping; write {name: adam}"),
        ({"average": "ema"}, "train.average: found 'ema'; expected a mapping of settings; write {kind: ema}"),
        ({"average": 3}, "train.average: found 3; expected a mapping of settings, such as {kind: none}"),
        ({"parallel": 2}, "train.parallel: found 2; expected a mapping of settings; write {processes: 2}"),
        (
            {"images": {"erasing": 0.25}},
            "train.images.erasing: found 0.25; expected a mapping of settings; write {share: 0.25}",
        ),
        (
            {"images": {"policy": "trivial_augment"}},
            "train.images.policy: found 'trivial_augment'; expected a mapping of settings; "
            "write {kind: trivial_augment}",
        ),
        (
            {"teacher": "models:/a@b"},
            "train.teacher: found 'models:/a@b'; expected a mapping of settings; write {model: 'models:/a@b'}",
        ),
        (
            {"init": "models:/shapes@champion"},
            "train.init: found 'models:/shapes@champion'; expected one of random, pretrained or a mapping; "
            "write {model: 'models:/shapes@champion'}",
        ),
    ],
)
def test_a_value_in_the_place_of_a_section_is_answered_with_the_section(section, message):
    with pytest.raises(ConfigError) as raised:
        parse(Training, section, "train")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"loss": "focl"}, r"train\.loss: found 'focl'; .* \(did you mean 'focal'\?\)"),
        ({"loss": {"gamma": 1}}, r"train\.loss\.name: missing; expected one of binary_cross_entropy"),
        ({"optimizer": {"name": "adamW"}}, r"did you mean 'adamw'\?"),
        ({"batch_size": 0}, "≤ 10,000,000 "),
        ({"parallel": {"processes": 100}}, r"^train\.parallel\.processes: found 100; expected at most train\.batch"),
    ],
)
def test_the_way_out_is_the_nearest(section, words):
    with pytest.raises(ConfigError, match=words):
        parse(Training, section, "train")


def test_an_architecture_of_torchvision_in_the_place_of_a_model_is_known():
    with pytest.raises(ConfigError, match=r"found 'resnet50'; .*; write \{name: torchvision, architecture: resnet50\}"):
        config.named("models", {"name": "resnet50"}, "m", "image")
