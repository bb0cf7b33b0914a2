import subprocess
import sys

import pytest

from pipeline import inference, variants
from pipeline.errors import ConfigError


@pytest.fixture
def has(monkeypatch):
    """Says which engines are installed."""

    def say(*names):
        for name in ("onnxruntime", "onnxruntime_cuda", "openvino"):
            monkeypatch.setattr(inference.engine(name), "installed", lambda name=name: name in names)

    return say


@pytest.mark.parametrize(
    ("installed", "asked", "device", "expected"),
    [
        (("onnxruntime",), ("auto",), "cpu", ["onnxruntime"]),
        (("onnxruntime", "openvino"), ("auto",), "cpu", ["onnxruntime", "openvino"]),
        (("onnxruntime", "openvino"), ("onnxruntime",), "cpu", ["onnxruntime"]),
        (("onnxruntime", "openvino"), ("openvino",), "cpu", ["onnxruntime", "openvino"]),
        (("onnxruntime", "openvino", "onnxruntime_cuda"), ("auto",), "cuda", ["onnxruntime_cuda"]),
    ],
)
def test_the_engines_that_take_part(has, installed, asked, device, expected):
    has(*installed)
    assert inference.engines(asked, device, "compress.engines") == expected


@pytest.mark.parametrize(
    ("asked", "device", "words"),
    [
        (("openvino",), "cpu", r"x: found openvino, which is not installed here; .*; pip install 'danlu\[openvino\]'$"),
        (("auto",), "cuda", r"x: found onnxruntime_cuda, which is not installed here; .*pip install onnxruntime-gpu"),
        (("openvino",), "cuda", "x: found 'openvino'; expected auto, or of onnxruntime_cuda, which run on cuda"),
        (("torch",), "cpu", "x: found 'torch'; expected auto, or of onnxruntime, openvino, which run on cpu"),
    ],
)
def test_what_cannot_take_part_is_named_with_the_way_out(has, asked, device, words):
    has("onnxruntime")
    with pytest.raises(ConfigError, match=words):
        inference.engines(asked, device, "x")


def test_a_scheme_without_its_package_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(variants.module("nncf_int8"), "installed", lambda: False)
    with pytest.raises(ConfigError, match=r"x: found nncf_int8, which is not installed here.*danlu\[openvino\]"):
        variants.check(["fp16+nncf_int8"], "x")


@pytest.mark.parametrize(("installed", "own"), [(True, ["bf16", "nncf_int8"]), (False, ["bf16"])])
def test_openvino_brings_schemes_of_its_own(monkeypatch, installed, own):
    monkeypatch.setattr(variants.module("nncf_int8"), "installed", lambda: installed)
    asked = {"asked": ("auto",), "operators": ["Conv"], "linear": False, "text": False}
    plain = variants.schemes(**asked, engines=["onnxruntime"])
    assert variants.schemes(**asked, engines=["onnxruntime", "openvino"]) == plain + own
    assert "nncf_int8" not in variants.schemes(("auto",), ["GRU"], linear=False, text=True, engines=["openvino"])


def test_what_every_user_imports_leaves_the_extras_alone():
    names = "compress, evaluate, reloading, profiling, inference, variants, check, eager"
    code = f"from pipeline import {names}\nimport sys\nprint({{'openvino', 'nncf'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
