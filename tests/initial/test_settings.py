from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.fit.settings import Config
from pipeline.initial import settings


def parsed(**section):
    return config.parse(Config, section, "train")


def test_every_form_is_read_and_survives_being_written_down():
    import dataclasses

    own = {"file": "weights/a.safetensors"}
    teacher = {"model": "models:/solar@champion", "temperature": 4}
    for init in ("random", "pretrained", own, {"model": "models:/solar/3"}):
        found = parsed(init=init, teacher=teacher)
        assert config.parse(Config, dataclasses.asdict(found), "train") == found
    assert parsed(init=own).init == settings.Weights("weights/a.safetensors")
    assert parsed().init == "random" and parsed().teacher is None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"init": "pretraind"}, r"train.init: found 'pretraind'; expected one of random, pretrained or a mapping"),
        ({"init": {"fil": "x"}}, r"train.init.fil: unknown key \(did you mean 'file'\?\)"),
        ({"init": {}}, r"train.init: found neither of file and model; expected one"),
        ({"init": {"file": "weights/a.safetensors", "model": "models:/a@b"}}, "found both of file and model"),
        ({"init": {"file": "a.safetensors"}}, r"file: found 'a.safetensors'; expected weights/<name>.safetensors"),
        ({"init": {"file": "weights/../../a.safetensors"}}, "expected weights/<name>.safetensors"),
        ({"init": {"file": "weights/a.pth"}}, "expected weights/<name>.safetensors"),
        ({"init": {"model": "solar"}}, r"expected models:/<name>@<alias>"),
        ({"teacher": {"file": "weights/a.safetensors"}}, r"expected weights/<name>.npy"),
        ({"teacher": {"file": "weights/a.npy", "share": 0}}, r"teacher.share: found 0; expected a number"),
        ({"teacher": {"file": "weights/a.npy", "temperature": 0.5}}, r"temperature: found 0.5; expected a number"),
    ],
)
def test_what_is_impossible_is_an_error_that_names_the_key(section, expected):
    with pytest.raises(ConfigError, match=expected):
        parsed(**section)


def test_a_check_finds_weights_that_cannot_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings.check("pretrained", None, {"name": "torchvision"}, "train")
    with pytest.raises(ConfigError, match=r"train.init: found pretrained for model.name 'resnet'"):
        settings.check("pretrained", None, {"name": "resnet"}, "train")
    teacher = settings.Teacher(file="weights/t.npy")
    with pytest.raises(ConfigError, match=r"train.teacher.file: found 'weights/t.npy', which is missing"):
        settings.check("random", teacher, {"name": "resnet"}, "train")
    Path("weights").mkdir()
    Path("weights/t.npy").touch()
    settings.check("random", teacher, {"name": "resnet"}, "train")
